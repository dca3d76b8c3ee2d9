/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/template_build.h"

#include <errno.h>
#include <inttypes.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/path.h"
#include "runtime/blocking.h"
#include "runtime/boot.h"
#include "runtime/trial_network.h"

/*
 * How it works: the VM to be saved is a sandbox's, booted by the same steps but for what is a pod's
 * own. So a builder that is killed leaves what a killed shim leaves, and the next one removes it.
 * The clone that is tried is a spare, in which a container has run (boot_warm.c), and which gets a
 * network then.
 */

#define SANDBOX_NAME "template"       /* of the VM that is saved … */
#define PROBE_NAME   "template-probe" /* … of the clone … */
#define KEY_NAME     "template-key"   /* … and of one that does not run; a number follows */

#define TEMPLATE_FEATURE "kata-c.template"
#define PREPARE_TIMEOUT  (60 * USEC_PER_SEC)
#define WRITE_TIMEOUT    (120 * USEC_PER_SEC)
#define SWEEP_TIMEOUT    (60 * USEC_PER_SEC)
#define NETWORK_TIMEOUT  (30 * USEC_PER_SEC)
/* A guest that has just booted still has something to do. */
#define SETTLE_STEP_USEC (600 * USEC_PER_MSEC)
#define SETTLE_STEPS_MAX 20
#define WHY_MAX          512 /* bytes of an error that a child reports */

struct build {
	struct loop *loop;
	struct config *config;
	const struct template_wish *wish;
	const char *root;
	char *folder;
	char key[VM_FINGERPRINT_SIZE];
	int memory_fd;
	uint64_t memory_size;
};

static void say(const struct build *b, const char *what)
{
	log_debug("template: %s", what);
	if (b->wish->says)
		b->wish->says(b->wish->arg, what);
}

/* NULL: *ret says why. */
static struct sandbox *new_sandbox(const struct build *b, const char *what, int *ret,
				   struct err *err)
{
	static const struct sandbox_listener listener = {0};
	_cleanup_(freep) char *id = path_new_id(what);
	struct sandbox *s = NULL;

	*ret = sandbox_new(b->loop, b->config, id, NULL, NULL, &listener, &s, err);
	return *ret < 0 ? NULL : s;
}

/* --- what a killed builder has left --- */

/* One that lives is another's, with another template_path. */
static int sweep_in_child(_unused_ void *arg, _unused_ void *reply)
{
	sandbox_sweep(SANDBOX_NAME "-", NULL);
	return 0;
}

static void sweep(void)
{
	int r = blocking_run(sweep_in_child, NULL, NULL, 0, clock_after(SWEEP_TIMEOUT));

	if (r < 0)
		log_warn("remove what a killed builder has left: %s", strerror(-r));
}

/* --- the VM to be saved --- */

/* Drivers that every clone, or many, would load first. */
static int prepare_guest(struct sandbox *s, struct err *err)
{
	const struct config_hypervisor *h = &s->config->hypervisor;
	_cleanup_(strv_fini) struct strv modules = {0};
	Grpc__PrepareTemplateRequest request = GRPC__PREPARE_TEMPLATE_REQUEST__INIT;

	if (!agent_has(s->agent, TEMPLATE_FEATURE))
		return err_setx(err, -ENOSYS, "the agent has no feature " TEMPLATE_FEATURE);
	strv_add(&modules, "virtio_net");
	strv_split(&modules,
		   streq(h->block_device_driver, "virtio-blk") ? "virtio_blk"
							       : "virtio_scsi sd_mod",
		   " ");
	/* Of root file systems, where they are on block devices. */
	if (!s->share.n_views)
		strv_split(&modules, "ext4 erofs overlay", " ");
	request.modules = modules.v;
	request.n_modules = modules.n;
	return agent_prepare_template(s->agent, &request, clock_after(PREPARE_TIMEOUT), err);
}

static void settle(struct sandbox *s)
{
	uint64_t before = vm_progress(s->vm);

	for (int i = 0; i < SETTLE_STEPS_MAX; i++) {
		uint64_t now;

		co_sleep(SETTLE_STEP_USEC);
		now = vm_progress(s->vm);
		if (now == before)
			return;
		before = now;
	}
	log_info("template: the guest does not come to rest, it is saved all the same");
}

static int save(struct build *b, struct sandbox *s, struct err *err)
{
	_cleanup_(closep) int state = -1;
	int r;

	r = prepare_guest(s, err);
	if (r < 0)
		return r;
	settle(s);
	say(b, "save it");
	state = template_create_state(b->folder, err);
	/* The session goes on in the saved guest, between two calls: it hears at once when its next
	 * host begins one, where a guest without a host only looks for it from time to time. */
	return state < 0 ? state : vm_save(s->vm, state, err);
}

static int boot_and_save(struct build *b, struct err *err)
{
	struct sandbox *s;
	int r;

	say(b, "boot a virtual machine");
	s = new_sandbox(b, SANDBOX_NAME, &r, err);
	if (!s)
		return r;
	s->purpose = SANDBOX_TO_SAVE;
	if (b->wish->key)
		s->wanted_key = xstrdup(b->wish->key);
	r = sandbox_start(s, NULL, err);
	snprintf(b->key, sizeof(b->key), "%s", s->template_key);
	if (r == 0)
		r = save(b, s, err);
	if (r == 0) {
		b->memory_fd = TAKE_FD(s->memory_fd);
		b->memory_size = s->memory_mib << 20;
	}
	/* It has stopped for good: nobody in there can end it. */
	if (s->agent)
		agent_close(s->agent, "the virtual machine is saved");
	sandbox_stop(s, NULL);
	sandbox_free(s);
	return r;
}

/* --- its files --- */

static int write_in_child(void *arg, void *reply)
{
	const struct build *b = arg;
	_cleanup_err_ struct err err = {0};
	int r = template_write(b->folder, b->memory_fd, b->memory_size, &err);

	if (r < 0)
		snprintf(reply, WHY_MAX, "%s", err_text(&err));
	return r;
}

static int write_files(struct build *b, struct err *err)
{
	_cleanup_(freep) char *why = xcalloc(1, WHY_MAX);
	int r = blocking_run(write_in_child, b, why, WHY_MAX, clock_after(WRITE_TIMEOUT));

	if (r == 0)
		return 0;
	return *why ? err_setx(err, r, "%s", why) : err_set(err, r, "write the template");
}

/* --- a clone on trial --- */

/* Network cards are plugged in, and the guest configures them. That there are none to be had is not
 * the template's fault. */
static int try_network(struct sandbox *s, struct err *err)
{
	_cleanup_(closep) int netns = -1;
	_cleanup_err_ struct err why = {0};
	int r;

	if (streq(s->config->runtime.internetworking_model, "none"))
		return 0;
	netns = trial_network_new(&why);
	if (netns < 0) {
		log_warn("template: its network is not tried: %s", err_text(&why));
		return 0;
	}
	free(s->netns);
	s->netns = xasprintf("/proc/self/fd/%d", netns);
	persist_set(&s->disk.netns, s->netns);
	s->deadline = clock_after(NETWORK_TIMEOUT);
	if (boot_open_network(s, &why) < 0) {
		log_warn("template: its network is not tried: %s", err_text(&why));
		boot_close_network(s);
		return 0;
	}
	r = boot_attach_network(s, err);
	if (r == 0)
		r = boot_tell_network(s, err);
	boot_close_network(s);
	return r < 0 ? err_wrap(err, r, "network") : 0;
}

static int try_clone(struct build *b, struct err *err)
{
	struct sandbox *s;
	int r;

	say(b, "try a clone");
	s = new_sandbox(b, PROBE_NAME, &r, err);
	if (!s)
		return r;
	s->template_folder = xstrdup(b->folder);
	r = sandbox_prepare(s, err);
	if (r == 0)
		r = try_network(s, err);
	sandbox_stop(s, NULL);
	sandbox_free(s);
	return r < 0 ? err_wrap(err, r, "a clone of the new template fails") : 0;
}

static int build(struct build *b, struct err *err)
{
	int r;

	r = boot_and_save(b, err);
	if (r == 0)
		r = write_files(b, err);
	if (r == 0)
		r = try_clone(b, err);
	return r < 0 ? r : template_commit(b->root, b->folder, b->key, err);
}

static int build_locked(struct build *b, struct template *ret, struct err *err)
{
	bool existed;
	int r;

	sweep();
	r = template_begin(b->root, &b->folder, err);
	if (r < 0)
		return r;
	r = build(b, err);
	existed = r == -EALREADY && *b->key;
	if (existed)
		err_clear(err);
	else if (r < 0 && r != -ESTALE && *b->key)
		/* What went wrong with it would again. */
		template_note_failure(b->root, b->key);
	if (r == 0 || existed)
		r = template_open(b->root, b->key, ret, err);
	(void)fs_remove_all(b->folder);
	free(b->folder);
	fd_close(b->memory_fd);
	return r < 0 ? r : !existed;
}

static int check_enabled(const struct config *config, struct err *err)
{
	if (config->factory.enable_template)
		return 0;
	return err_setx(err, -ENOSYS,
			"templates are off: set enable_template = true in [factory] of the "
			"configuration");
}

int template_build(struct loop *loop, struct config *config, const struct template_wish *wish,
		   struct template *ret, struct err *err)
{
	struct build b = {
		.loop = loop,
		.config = config,
		.wish = wish,
		.root = config->factory.template_path,
		.memory_fd = -1,
	};
	_cleanup_(closep) int lock = -1;
	int r;

	r = check_enabled(config, err);
	if (r < 0)
		return r;
	lock = template_lock(b.root, wish->at_once, err);
	return lock < 0 ? lock : build_locked(&b, ret, err);
}

int template_key(struct loop *loop, struct config *config, char ret[VM_FINGERPRINT_SIZE],
		 struct err *err)
{
	struct build b = {.loop = loop, .config = config};
	struct sandbox *s;
	int r;

	r = check_enabled(config, err);
	if (r < 0)
		return r;
	if (!boot_can_restore(config))
		return err_setx(err, -EOPNOTSUPP,
				"sandboxes with enable_hugepages or enable_mem_prealloc boot");
	s = new_sandbox(&b, KEY_NAME, &r, err);
	if (!s)
		return r;
	r = boot_name(s, err);
	if (r >= 0)
		memcpy(ret, s->template_key, sizeof(s->template_key));
	sandbox_free(s);
	return r < 0 ? r : 0;
}

/* --- in a program of its own --- */

struct program {
	struct loop *loop;
	struct config *config;
	const struct template_wish *wish;
	struct template *template;
	char *key;
	struct err *err;
	int result;
};

static void run_build(void *arg)
{
	struct program *p = arg;

	p->result = template_build(p->loop, p->config, p->wish, p->template, p->err);
	loop_quit(p->loop, 0);
}

static void run_key(void *arg)
{
	struct program *p = arg;

	p->result = template_key(p->loop, p->config, p->key, p->err);
	loop_quit(p->loop, 0);
}

static int run_alone(struct program *p, co_fn fn)
{
	_cleanup_(loop_freep) struct loop *loop = NULL;
	int r = loop_new(&loop);

	if (r < 0)
		return err_set(p->err, r, "make an event loop");
	p->loop = loop;
	co_start(loop, fn, p);
	loop_run(loop);
	return p->result;
}

int template_build_alone(struct config *config, const struct template_wish *wish,
			 struct template *ret, struct err *err)
{
	struct program program = {.config = config, .wish = wish, .template = ret, .err = err};
	_cleanup_(closep) int left = sandbox_private_mounts(err);

	return left < 0 ? left : run_alone(&program, run_build);
}

int template_key_alone(struct config *config, char ret[VM_FINGERPRINT_SIZE], struct err *err)
{
	struct program program = {.config = config, .key = ret, .err = err};

	return run_alone(&program, run_key);
}
