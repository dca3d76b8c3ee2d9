/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/live_volume.h"

#include <errno.h>
#include <sys/mount.h>

#include "base/log.h"
#include "base/path.h"
#include "runtime/copied_file.h"
#include "runtime/id_maps.h"
#include "runtime/spec_guest.h"
#include "runtime/volume.h"
#include "runtime/volume_snapshot.h"
#include "runtime/volume_watch.h"

/*
 * How it works: each volume's folder is watched before the first copy is taken, so that no change
 * is missed. A change marks the volume as dirty and starts a coroutine, which lets kubelet finish
 * (SETTLE), takes a snapshot and sends it, as long as it is dirty: changes in quick succession
 * become one. What has not really changed is not sent. When it fails, it is tried again, less and
 * less often, until the volume is released or the sandbox is gone.
 *
 * The guest's copy has the owners that the mount maps to: each mapping has a copy of its own.
 *
 * A file is a volume with one file in it, which nobody watches: it is sent again when another
 * container wants it and it is not what was sent, and written when the guest's is not. Where both
 * have changed, the host's stays as it is.
 */

#define SETTLE    (10 * USEC_PER_MSEC)
#define RETRY_MAX (30 * USEC_PER_SEC)
/* The end of a container waits for all its files together; below what a kill waits for an end. */
#define BRING_BACK (2 * USEC_PER_SEC)
#define LOCK_POLL  (5 * USEC_PER_MSEC)
#define FILE_NAME  "file" /* as in ReadCopiedFile of agent.proto */
#define NAME_PART  64     /* of a volume's own name in that of its copy */

struct live_volumes {
	struct list list; /* struct live_volume, those in use */
	struct volume_watches watches;
};

struct live_volume {
	struct live_volumes *all; /* NULL: nobody uses it any more */
	struct list link;
	struct sandbox *sandbox;
	char *path, *name;    /* here; in the guest */
	bool single;          /* a file … */
	bool writable;        /* … that a container may write */
	struct ns_maps idmap; /* of the owners in the guest */
	unsigned int n_users; /* containers */
	unsigned int n_refs;  /* who looks at it: the users together, coroutines */
	struct volume_watch watch;
	bool dirty;                    /* may differ from what is in the guest */
	bool updating;                 /* keep_up() runs */
	struct co_lock lock;           /* of what is in the guest */
	bool in_guest;                 /* of a file: be it as it was once */
	uint8_t digest[SHA256_SIZE];   /* of that */
	struct file_identity identity; /* a file: which … */
	struct copied_file copied;     /* … and what both sides had last */
};

static void unref(struct live_volume *v)
{
	if (--v->n_refs)
		return;
	sandbox_unref(v->sandbox);
	free(v->path);
	free(v->name);
	ns_maps_fini(&v->idmap);
	free(v);
}

/* --- bringing it to the guest --- */

static int send_all(struct live_volume *v, struct snapshot *snapshot, uint64_t deadline,
		    struct err *err)
{
	int r = 0;

	while (r >= 0) {
		Grpc__UpdateLiveVolumeRequest *part;

		r = snapshot_next(snapshot, &part, err);
		if (r < 0 || !part)
			break;
		r = sandbox_usable(v->sandbox, err);
		if (r >= 0)
			r = agent_update_live_volume(v->sandbox->agent, part, deadline, err);
		grpc__update_live_volume_request__free_unpacked(part, NULL);
	}
	return r < 0 ? r : 0;
}

static int send_volume(struct live_volume *v, uint64_t deadline, struct err *err)
{
	_cleanup_(snapshot_fini) struct snapshot snapshot = {.fd = -1};
	int r = snapshot_take(v->path, v->name, &v->idmap, deadline, &snapshot, err);

	if (r < 0 || (v->in_guest && !memcmp(v->digest, snapshot.digest, sizeof(v->digest))))
		return r;
	/* What comes of a call that fails nobody knows. */
	v->in_guest = false;
	r = send_all(v, &snapshot, deadline, err);
	if (r < 0)
		return r;
	v->in_guest = true;
	memcpy(v->digest, snapshot.digest, sizeof(v->digest));
	return 0;
}

static void fill_entry(const struct live_volume *v, const struct copied_file *file,
		       Grpc__LiveVolumeEntry *ret)
{
	grpc__live_volume_entry__init(ret);
	ret->uid = ns_map_id(v->idmap.uids, v->idmap.n_uids, file->uid);
	ret->gid = ns_map_id(v->idmap.gids, v->idmap.n_gids, file->gid);
}

static int send_content(struct live_volume *v, const struct copied_file *file, uint8_t *data,
			size_t n, uint64_t deadline, struct err *err)
{
	Grpc__UpdateLiveVolumeRequest request = GRPC__UPDATE_LIVE_VOLUME_REQUEST__INIT;
	Grpc__LiveVolumeEntry folder, entry, *entries[] = {&folder, &entry};
	int r = sandbox_usable(v->sandbox, err);

	if (r < 0)
		return r;
	fill_entry(v, file, &folder);
	folder.mode = S_IFDIR | 0755;
	fill_entry(v, file, &entry);
	entry.mode = file->mode;
	entry.path = (char *)FILE_NAME;
	entry.data = (ProtobufCBinaryData){.data = data, .len = n};
	request.name = v->name;
	request.entries = entries;
	request.n_entries = ARRAY_SIZE(entries);
	request.first = request.last = true;
	return agent_update_live_volume(v->sandbox->agent, &request, deadline, err);
}

static int read_in_guest(struct live_volume *v, uint64_t deadline,
			 Grpc__ReadCopiedFileResponse **ret, uint8_t digest[SHA256_SIZE],
			 struct err *err)
{
	Grpc__ReadCopiedFileRequest request = GRPC__READ_COPIED_FILE_REQUEST__INIT;
	int r = sandbox_usable(v->sandbox, err);

	if (r < 0)
		return r;
	request.name = v->name;
	r = agent_read_copied_file(v->sandbox->agent, &request, deadline, ret, err);
	if (r < 0)
		return r;
	sha256_of((*ret)->data.data, (*ret)->data.len, digest);
	if ((*ret)->data.len <= COPIED_FILE_MAX)
		return 0;
	protobuf_c_message_free_unpacked(&TAKE_PTR(*ret)->base, NULL);
	(void)err_setx(err, -EFBIG, "the agent's answer is too large");
	return -EFBIG;
}

static bool is_changed_in_guest(struct live_volume *v, uint64_t deadline)
{
	Grpc__ReadCopiedFileResponse *answer = NULL;
	uint8_t digest[SHA256_SIZE];

	if (read_in_guest(v, deadline, &answer, digest, NULL) < 0)
		return true;
	protobuf_c_message_free_unpacked(&answer->base, NULL);
	return memcmp(digest, v->copied.content, sizeof(digest)) != 0;
}

static int send_file(struct live_volume *v, uint64_t deadline, struct err *err)
{
	_cleanup_(freep) uint8_t *data = NULL;
	struct copied_file file;
	size_t n;
	int r = copied_file_read(v->path, deadline, &file, &data, &n, err);

	if (r < 0)
		return r;
	if (!file_identity_equal(&file.identity, &v->identity))
		return err_setx(err, -ESTALE, "%s was replaced while it was looked at", v->path);
	if (v->in_guest && !memcmp(file.content, v->copied.content, sizeof(file.content)))
		return 0;
	if (v->in_guest && v->writable && is_changed_in_guest(v, deadline)) {
		log_warn("%s was changed here and by containers: they keep what they have",
			 v->path);
		return 0;
	}
	r = send_content(v, &file, data, n, deadline, err);
	if (r < 0)
		return r;
	v->in_guest = true;
	v->copied = file;
	return 0;
}

static int send_changed(struct live_volume *v, uint64_t deadline, struct err *err)
{
	uint64_t began = clock_now();
	int r = v->single ? send_file(v, deadline, err) : send_volume(v, deadline, err);

	if (r == 0)
		log_debug("volume %s: is in the guest after %llu us", v->path,
			  (unsigned long long)(clock_now() - began));
	return r;
}

static void keep_up(void *arg);

static void mark_dirty(struct live_volume *v)
{
	v->dirty = true;
	if (v->updating)
		return;
	v->updating = true;
	v->n_refs++;
	co_start(v->sandbox->loop, keep_up, v);
}

/* Bring it up to date once; what fails is tried again later. */
static int update(struct live_volume *v, uint64_t deadline, struct err *err)
{
	int r = 0;

	co_lock(&v->lock);
	while (v->dirty) {
		v->dirty = false;
		r = send_changed(v, deadline, err);
		if (r < 0 && v->single)
			v->dirty = true; /* for whoever waits, not for ever */
		else if (r < 0)
			mark_dirty(v);
		/* Changed while it was read. */
		if (r != -EAGAIN || clock_now() >= deadline)
			break;
		co_sleep(SETTLE);
	}
	co_unlock(&v->lock);
	return r;
}

static void keep_up(void *arg)
{
	struct live_volume *v = arg;
	struct sandbox *s = v->sandbox;
	uint64_t pause = SETTLE;

	while (v->dirty && v->all && sandbox_usable(s, NULL) >= 0) {
		_cleanup_err_ struct err err = {0};
		uint64_t until = clock_after(pause);

		/* Others wake it for other reasons. */
		while (clock_now() < until && v->all && sandbox_usable(s, NULL) >= 0)
			co_cond_wait(&s->changed, until);
		if (!v->all || update(v, clock_after(CALL_TIMEOUT), &err) >= 0) {
			pause = SETTLE;
			continue;
		}
		if (pause == SETTLE && sandbox_usable(s, NULL) >= 0)
			log_warn("volume %s is out of date in the guest: %s", v->path,
				 err_text(&err));
		pause = MIN(MAX(2 * pause, USEC_PER_SEC), RETRY_MAX);
	}
	v->updating = false;
	unref(v);
}

static void on_changed(struct volume_watch *watch)
{
	mark_dirty(container_of(watch, struct live_volume, watch));
}

/* --- use --- */

static struct live_volumes *get_all(struct sandbox *s)
{
	if (!s->live) {
		s->live = xnew(struct live_volumes);
		list_init(&s->live->list);
		volume_watches_init(&s->live->watches, s->loop, on_changed);
	}
	return s->live;
}

static bool is_of(const struct live_volume *v, const char *path, const struct volume_source *source)
{
	if (v->single != (source->kind == VOLUME_COPIED))
		return false;
	return v->single ? file_identity_equal(&v->identity, &source->identity)
			 : streq(v->path, path);
}

static struct live_volume *get(struct sandbox *s, const char *path,
			       const struct volume_source *source, const struct ns_maps *idmap)
{
	struct live_volumes *all = get_all(s);
	struct live_volume *v;
	char part[NAME_PART];

	list_for_each (v, &all->list, link)
		if (is_of(v, path, source) && ns_maps_equal(&v->idmap, idmap))
			return v;
	v = xnew(struct live_volume);
	v->all = all;
	v->sandbox = s;
	sandbox_ref(s);
	v->path = xstrdup(path);
	v->single = source->kind == VOLUME_COPIED;
	v->identity = source->identity;
	v->idmap = ns_maps_copy(idmap);
	/* The number alone makes it unique, the rest is for people. */
	snprintf(part, sizeof(part), "%s", path_name(path));
	v->name = xasprintf("%llu-%s", (unsigned long long)s->next_live++,
			    path_is_id(part) ? part : "volume");
	co_lock_init(&v->lock);
	v->n_refs = 1;
	v->dirty = true;
	list_add_tail(&all->list, &v->link);
	if (!v->single)
		volume_watch_add(&all->watches, &v->watch, v->path);
	return v;
}

/* Its end in the guest, which nobody has to wait for. */
static void remove_in_guest(void *arg)
{
	Grpc__RemoveLiveVolumeRequest request = GRPC__REMOVE_LIVE_VOLUME_REQUEST__INIT;
	_cleanup_err_ struct err err = {0};
	struct live_volume *v = arg;

	/* An update may be under way. */
	co_lock(&v->lock);
	request.name = v->name;
	if (sandbox_usable(v->sandbox, &err) >= 0 &&
	    agent_remove_live_volume(v->sandbox->agent, &request, clock_after(CALL_TIMEOUT), &err) <
		    0)
		log_debug("volume %s: remove it in the guest: %s", v->path, err_text(&err));
	co_unlock(&v->lock);
	unref(v);
}

static void put(struct live_volume *v)
{
	struct live_volumes *all = v->all;

	if (--v->n_users)
		return;
	v->all = NULL;
	co_cond_wake_all(&v->sandbox->changed);
	list_remove(&v->link);
	if (!v->single)
		volume_watch_remove(&all->watches, &v->watch);
	if (list_empty(&all->list)) {
		v->sandbox->live = NULL;
		volume_watches_fini(&all->watches);
		free(all);
	}
	if (sandbox_usable(v->sandbox, NULL) >= 0)
		co_start(v->sandbox->loop, remove_in_guest, v);
	else
		unref(v);
}

/* By the path of this very mount: another one may lead elsewhere by now. */
static void look_again(struct live_volume *v, const char *path)
{
	co_lock(&v->lock);
	free(v->path);
	v->path = xstrdup(path);
	v->dirty = true;
	co_unlock(&v->lock);
}

static int use(struct container *c, Grpc__Mount *m, const struct volume_source *source,
	       const struct ns_maps *idmap, uint64_t deadline, struct err *err)
{
	struct live_volume *v = get(c->sandbox, m->source, source, idmap);
	bool recursive_read_only;
	int r;

	v->n_users++;
	c->live = xreallocarray(c->live, c->n_live + 1, sizeof(struct live_volume *));
	c->live[c->n_live++] = v;
	if (v->single)
		look_again(v, m->source);
	v->writable |= !(volume_bind_flags(m, &recursive_read_only) & MS_RDONLY);
	r = update(v, deadline, err);
	if (r >= 0) {
		_cleanup_(freep) char *guest = NULL;

		guest = xasprintf(LIVE_VOLUME_GUEST_DIR "/%s%s", v->name,
				  v->single ? "/" FILE_NAME : "");
		spec_set(&m->source, guest);
		spec_set(&m->type, "bind");
	}
	return r < 0 ? err_wrap(err, r, "mount %s", m->destination) : 0;
}

static int prepare(struct container *c, Grpc__Spec *spec, size_t index,
		   const struct volume_source *source, uint64_t deadline, struct err *err)
{
	const char *feature = source->kind == VOLUME_COPIED ? COPIED_FILES_FEATURE
							    : LIVE_VOLUME_FEATURE;
	struct sandbox *s = c->sandbox;
	Grpc__Mount *m = spec->mounts[index];
	struct host_mount bind = {0};
	int r = id_maps_of_mount(spec, m, &bind, err);

	if (r >= 0)
		r = agent_has(s->agent, feature)
			    ? use(c, m, source, &bind.idmap, deadline, err)
			    : volume_share(m, &bind, &(struct host_file){0}, index, c->id,
					   &s->share, &c->mounts, err);
	ns_maps_fini(&bind.idmap);
	return r;
}

int live_volumes_prepare(struct container *c, Grpc__Spec *spec, const struct volume_source *sources,
			 uint64_t deadline, struct err *err)
{
	int r = 0;

	for (size_t i = 0; i < spec->n_mounts && r >= 0; i++)
		if (sources[i].kind == VOLUME_LIVE || sources[i].kind == VOLUME_COPIED)
			r = prepare(c, spec, i, &sources[i], deadline, err);
	return r;
}

void live_volumes_release(struct container *c)
{
	while (c->n_live)
		put(c->live[--c->n_live]);
	free(TAKE_PTR(c->live));
}

/* --- the way back --- */

static int bring_back(struct live_volume *v, uint64_t deadline, struct err *err)
{
	Grpc__ReadCopiedFileResponse *answer = NULL;
	uint8_t digest[SHA256_SIZE];
	int r = read_in_guest(v, deadline, &answer, digest, err);

	if (r < 0)
		return r;
	if (memcmp(digest, v->copied.content, sizeof(digest)) != 0) {
		r = copied_file_write(v->path, &v->copied, answer->data.data, answer->data.len,
				      deadline, err);
		if (r == 0)
			memcpy(v->copied.content, digest, sizeof(digest));
	}
	protobuf_c_message_free_unpacked(&answer->base, NULL);
	return r;
}

/* Another container's creation may be at it, for longer than we can wait. */
static int bring_back_locked(struct live_volume *v, uint64_t deadline, struct err *err)
{
	int r;

	while (v->lock.owner && clock_now() < deadline)
		co_sleep(LOCK_POLL);
	if (v->lock.owner)
		return err_setx(err, -ETIMEDOUT, "it is being copied to the guest");
	co_lock(&v->lock);
	r = v->all ? bring_back(v, deadline, err) : 0;
	co_unlock(&v->lock);
	return r;
}

void live_volumes_bring_back(struct container *c)
{
	uint64_t deadline = clock_after(BRING_BACK);

	for (size_t i = 0; i < c->n_live; i++) {
		struct live_volume *v = c->live[i];
		_cleanup_err_ struct err err = {0};

		if (!v->writable || !v->in_guest)
			continue;
		v->n_refs++;
		if (bring_back_locked(v, deadline, &err) < 0)
			log_warn("container %s: what was written to %s stays in the guest: %s",
				 c->id, v->path, err_text(&err));
		unref(v);
	}
}
