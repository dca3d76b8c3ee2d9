/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/persist.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/fs.h"
#include "base/kv.h"
#include "base/log.h"
#include "base/path.h"
#include "kernel/proc.h"

#define PERSIST_VERSION 1
#define STRINGS_MAX     4096

/* The string members, by the name they have in the file. */
static const struct {
	const char *key;
	size_t offset;
	bool late; /* it came later than the others */
} strings[] = {
	{"id", offsetof(struct persist, id), false},
	{"state", offsetof(struct persist, state), false},
	{"netns", offsetof(struct persist, netns), false},
	{"reason", offsetof(struct persist, reason), false},
	{"config_file", offsetof(struct persist, config_file), false},
	{"owner", offsetof(struct persist, owner), true},
	{"vm_name", offsetof(struct persist, vm_name), true},
};

static const struct {
	const char *key;
	size_t offset;
} lists[] = {
	{"endpoints", offsetof(struct persist, endpoints)},
	{"cgroups", offsetof(struct persist, cgroups)},
	{"containers", offsetof(struct persist, containers)},
};

static char **string_at(const struct persist *p, size_t i)
{
	return (char **)((char *)p + strings[i].offset);
}

static struct strv *list_at(const struct persist *p, size_t i)
{
	return (struct strv *)((char *)p + lists[i].offset);
}

void persist_init(struct persist *p, const char *id)
{
	*p = (struct persist){.created_at = clock_realtime(), .memory_fd = -1};
	for (size_t i = 0; i < ARRAY_SIZE(strings); i++)
		*string_at(p, i) = xstrdup("");
	persist_set(&p->id, id);
	persist_set(&p->state, "new");
}

void persist_fini(struct persist *p)
{
	for (size_t i = 0; i < ARRAY_SIZE(strings); i++)
		free(*string_at(p, i));
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
		strv_fini(list_at(p, i));
	*p = (struct persist){0};
}

void persist_set(char **field, const char *value)
{
	free(*field);
	*field = xstrdup(value ? value : "");
}

char *persist_dir(const char *id)
{
	return path_join(PERSIST_ROOT, id);
}

/* As proc_stat_read(); one that has ended and at which its parent has not looked is gone. */
static int look(pid_t pid, struct proc_stat *ret)
{
	int r = proc_stat_read(pid, ret);

	return r >= 0 && (ret->state == 'Z' || ret->state == 'X') ? -ESRCH : r;
}

void persist_add_process(struct persist *p, const char *name, pid_t pid)
{
	struct persist_process process = {.pid = pid};
	struct proc_stat stat;

	if (pid <= 0 || p->n_processes == PERSIST_PIDS_MAX || look(pid, &stat) < 0)
		return;
	process.start_time = stat.starttime;
	snprintf(process.name, sizeof(process.name), "%s", name);
	p->processes[p->n_processes++] = process;
}

bool persist_alive(const struct persist_process *process)
{
	struct proc_stat stat;

	return look(process->pid, &stat) == 0 && stat.starttime == process->start_time;
}

/* --- writing --- */

static void format_list(struct buf *b, const char *key, const struct strv *list)
{
	buf_addf(b, ",\"%s\":[", key);
	for (size_t i = 0; i < list->n; i++) {
		if (i)
			buf_addc(b, ',');
		kv_json_string(b, list->v[i]);
	}
	buf_addc(b, ']');
}

char *persist_format(const struct persist *p)
{
	struct buf b = {0};

	buf_addf(&b, "{\"version\":%d", PERSIST_VERSION);
	for (size_t i = 0; i < ARRAY_SIZE(strings); i++) {
		buf_addf(&b, ",\"%s\":", strings[i].key);
		kv_json_string(&b, *string_at(p, i));
	}
	buf_addf(&b, ",\"created_at\":%" PRIu64 ",\"emulated\":%s", p->created_at,
		 p->emulated ? "true" : "false");
	if (p->memory_fd >= 0)
		buf_addf(&b, ",\"memory_fd\":%d", p->memory_fd);
	buf_adds(&b, ",\"processes\":[");
	for (size_t i = 0; i < p->n_processes; i++) {
		buf_addf(&b, "%s{\"name\":", i ? "," : "");
		kv_json_string(&b, p->processes[i].name);
		buf_addf(&b, ",\"pid\":%d,\"start_time\":%" PRIu64 "}", (int)p->processes[i].pid,
			 p->processes[i].start_time);
	}
	buf_addc(&b, ']');
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
		format_list(&b, lists[i].key, list_at(p, i));
	buf_adds(&b, "}\n");
	return buf_take(&b);
}

int persist_save(const struct persist *p, struct err *err)
{
	_cleanup_(freep) char *dir = persist_dir(p->id);
	_cleanup_(freep) char *path = path_join(dir, "state.json");
	_cleanup_(freep) char *text = persist_format(p);
	int r;

	r = fs_replace(path, text, strlen(text), 0600, false);
	return r < 0 ? err_set(err, r, "write %s", path) : 0;
}

/* --- reading: the file is ours, but what is done with it (kill, remove) asks for care --- */

static int parse_list(const json_t *array, struct strv *ret)
{
	if (!array)
		return 0;
	if (!json_is_array(array) || json_array_size(array) > STRINGS_MAX)
		return -EINVAL;
	for (size_t i = 0; i < json_array_size(array); i++) {
		const char *s = json_string_value(json_array_get(array, i));

		if (!s)
			return -EINVAL;
		strv_add(ret, s);
	}
	return 0;
}

static int parse_processes(const json_t *array, struct persist *p)
{
	if (!array)
		return 0;
	if (!json_is_array(array) || json_array_size(array) > PERSIST_PIDS_MAX)
		return -EINVAL;
	for (size_t i = 0; i < json_array_size(array); i++) {
		const json_t *item = json_array_get(array, i);
		const char *name = json_string_value(json_object_get(item, "name"));
		json_int_t pid = json_integer_value(json_object_get(item, "pid"));
		json_int_t began = json_integer_value(json_object_get(item, "start_time"));
		struct persist_process *process = &p->processes[p->n_processes];

		if (!name || pid <= 1 || pid > INT32_MAX || began <= 0)
			return -EINVAL;
		snprintf(process->name, sizeof(process->name), "%s", name);
		process->pid = (pid_t)pid;
		process->start_time = (uint64_t)began;
		p->n_processes++;
	}
	return 0;
}

static int parse_object(const json_t *object, struct persist *p)
{
	json_int_t created = json_integer_value(json_object_get(object, "created_at"));
	const json_t *memory = json_object_get(object, "memory_fd");

	if (json_integer_value(json_object_get(object, "version")) != PERSIST_VERSION)
		return -EPROTO;
	for (size_t i = 0; i < ARRAY_SIZE(strings); i++) {
		const json_t *value = json_object_get(object, strings[i].key);

		if (!value && strings[i].late)
			continue;
		if (!json_is_string(value))
			return -EINVAL;
		persist_set(string_at(p, i), json_string_value(value));
	}
	if (created < 0 || !path_is_id(p->id))
		return -EINVAL;
	if (memory) {
		if (!json_is_integer(memory) || json_integer_value(memory) < 0 ||
		    json_integer_value(memory) > INT32_MAX)
			return -EINVAL;
		p->memory_fd = (int)json_integer_value(memory);
	}
	p->created_at = (uint64_t)created;
	p->emulated = json_is_true(json_object_get(object, "emulated"));
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
		if (parse_list(json_object_get(object, lists[i].key), list_at(p, i)) < 0)
			return -EINVAL;
	return parse_processes(json_object_get(object, "processes"), p);
}

static void json_freep(json_t **json)
{
	if (*json)
		json_decref(*json);
}

int persist_parse(const char *text, size_t n, struct persist *p, struct err *err)
{
	_cleanup_(json_freep) json_t *root = NULL;
	struct persist parsed;
	json_error_t where;
	int r;

	if (n > PERSIST_SIZE_MAX)
		return err_setx(err, -EFBIG, "state of a sandbox: larger than %u bytes",
				PERSIST_SIZE_MAX);
	root = json_loadb(text, n, 0, &where);
	if (!json_is_object(root))
		return err_setx(err, -EINVAL, "state of a sandbox: line %d: %s", where.line,
				where.text);
	persist_init(&parsed, "");
	r = parse_object(root, &parsed);
	if (r < 0) {
		persist_fini(&parsed);
		return err_setx(err, r, "state of a sandbox: %s",
				r == -EPROTO ? "written by another version"
					     : "not what a sandbox writes");
	}
	*p = parsed;
	return 0;
}

int persist_load(const char *id, struct persist *p, struct err *err)
{
	_cleanup_(freep) char *dir = persist_dir(id), *path = path_join(dir, "state.json");
	_cleanup_(freep) char *text = NULL;
	struct persist parsed = {0};
	size_t n;
	int r;

	r = fs_read(path, PERSIST_SIZE_MAX, &text, &n);
	if (r < 0)
		return err_set(err, r, "read %s", path);
	r = persist_parse(text, n, &parsed, err);
	if (r < 0)
		return err_wrap(err, r, "%s", path);
	if (!streq(parsed.id, id)) {
		persist_fini(&parsed);
		return err_setx(err, -EINVAL, "%s: belongs to another sandbox", path);
	}
	*p = parsed;
	return 0;
}

int persist_list(struct strv *ret, struct err *err)
{
	_cleanup_(closedirp) DIR *dir = opendir(PERSIST_ROOT);
	struct dirent *entry;

	if (!dir)
		return errno == ENOENT ? 0 : err_set(err, -errno, "open %s", PERSIST_ROOT);
	while ((entry = readdir(dir)))
		if (path_is_id(entry->d_name))
			strv_add(ret, entry->d_name);
	return 0;
}

/* --- whose an id is --- */

/* Keeps two from finding the same leftover; it is held for two small files. */
static int lock_root(struct err *err)
{
	_cleanup_(closep) int lock = -1;
	int r = fs_mkdir_all(PERSIST_ROOT, 0755);

	if (r < 0)
		return err_set(err, r, "make %s", PERSIST_ROOT);
	lock = open(PERSIST_ROOT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (lock < 0 || flock(lock, LOCK_EX) < 0)
		return err_set(err, -errno, "lock %s", PERSIST_ROOT);
	return TAKE_FD(lock);
}

/* What there is, known by its id alone when the file is missing or damaged (it is complete from the
 * first moment on, except for one of another version). */
static int load_any(const char *id, struct persist *ret, struct err *err)
{
	_cleanup_err_ struct err why = {0};
	int r = persist_load(id, ret, &why);

	if (r >= 0)
		return 0;
	if (r != -ENOENT && r != -EINVAL && r != -EPROTO) {
		err_move(err, &why);
		return r;
	}
	persist_init(ret, id);
	return 0;
}

/* One that was killed holds nothing, though it may take the kernel a moment to be done with it:
 * whoever cleans up comes as soon as its connections are closed. */
static bool holds(const struct persist_process *process)
{
	struct proc_stat stat;

	return look(process->pid, &stat) == 0 && stat.starttime == process->start_time &&
	       !stat.exiting;
}

const struct persist_process *persist_holder(const struct persist *p)
{
	for (size_t i = 0; i < p->n_processes; i++)
		if (streq(p->processes[i].name, "shim") && holds(&p->processes[i]))
			return &p->processes[i];
	return NULL;
}

static void drop_shim(struct persist *p)
{
	size_t n = 0;

	for (size_t i = 0; i < p->n_processes; i++)
		if (!streq(p->processes[i].name, "shim"))
			p->processes[n++] = p->processes[i];
	p->n_processes = n;
}

/* What was left, as ours: until it is undone it must be known to whoever cleans up after us. */
static int save_inherited(const struct persist *p, const struct persist *left, struct err *err)
{
	struct persist both = *left; /* borrowed */

	both.owner = p->owner;
	both.state = p->state;
	both.memory_fd = p->memory_fd;
	drop_shim(&both);
	for (size_t i = 0; i < p->n_processes && both.n_processes < PERSIST_PIDS_MAX; i++)
		both.processes[both.n_processes++] = p->processes[i];
	return persist_save(&both, err);
}

static int claim_left(const struct persist *p, struct persist *left, struct err *err)
{
	const struct persist_process *other;
	int r = load_any(p->id, left, err);

	if (r < 0)
		return r;
	other = persist_holder(left);
	if (other)
		r = err_setx(err, -EEXIST, "a sandbox %s runs already: process %d has it, for %s",
			     p->id, other->pid,
			     str_empty(left->owner) ? "somebody else" : left->owner);
	else
		r = save_inherited(p, left, err);
	if (r < 0)
		persist_fini(left);
	return r < 0 ? r : 1;
}

int persist_claim(const struct persist *p, struct persist *left, struct err *err)
{
	_cleanup_(freep) char *dir = persist_dir(p->id);
	_cleanup_(closep) int lock = lock_root(err);

	if (lock < 0)
		return lock;
	if (mkdir(dir, 0700) == 0)
		return persist_save(p, err);
	return errno == EEXIST ? claim_left(p, left, err) : err_set(err, -errno, "make %s", dir);
}

int persist_take_over(const char *id, const char *owner, pid_t ended, struct persist *ret,
		      struct err *err)
{
	_cleanup_(freep) char *dir = persist_dir(id);
	_cleanup_(closep) int lock = lock_root(err);
	const struct persist_process *other;
	int r;

	if (lock < 0)
		return lock;
	r = load_any(id, ret, err);
	if (r < 0)
		return r;
	other = persist_holder(ret);
	if ((other && other->pid != ended) ||
	    (owner && !str_empty(ret->owner) && !streq(ret->owner, owner))) {
		log_info("sandbox %s is left alone: it is that of %s", id, ret->owner);
		persist_fini(ret);
		return 0;
	}
	drop_shim(ret);
	persist_add_process(ret, "shim", getpid());
	/* On a full disk nobody can be told, and it is undone the more. */
	if (mkdir(dir, 0700) == 0 || errno == EEXIST)
		(void)persist_save(ret, NULL);
	return 1;
}

void persist_disown(const char *id)
{
	_cleanup_err_ struct err err = {0};
	_cleanup_(closep) int lock = lock_root(&err);
	struct persist p = {0};

	if (lock >= 0 && persist_load(id, &p, &err) >= 0) {
		drop_shim(&p);
		persist_save(&p, &err);
		persist_fini(&p);
	}
	if (err.code < 0)
		log_warn("%s", err_text(&err));
}

void persist_remove(const char *id)
{
	_cleanup_(freep) char *dir = persist_dir(id);
	_cleanup_err_ struct err err = {0};
	_cleanup_(closep) int lock = lock_root(&err);

	if (lock < 0)
		log_warn("%s", err_text(&err));
	fs_remove_all(dir);
}
