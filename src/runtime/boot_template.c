/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/path.h"
#include "runtime/blocking.h"
#include "runtime/boot.h"
#include "runtime/shared_memory.h"
#include "runtime/template.h"

/*
 * How it works: a sandbox whose VM has the fingerprint of a template does not boot: QEMU starts
 * with a copy of the template's memory and loads its state. The copy (in a child) and QEMU's start
 * go on in coroutines of their own while the boot's next steps work on the host; the step that
 * starts the VM then waits for both. Devices that no saved VM can have (shared folders) or that are
 * the pod's own (network cards) are plugged in afterwards. Without shared folders, which must see
 * what the guest writes, one copy serves all clones on the host (shared_memory.h).
 *
 * Until the agent of the clone has answered and is fresh, the template is on trial: when something
 * goes wrong before that, it is removed and the sandbox boots.
 */

#define MEMORY_NAME "kata-guest-memory"
#define SEED_SIZE   64
#define COPY_USEC   (60 * USEC_PER_SEC)
#define MAKING_USEC (2 * USEC_PER_SEC) /* for another's copy */
#define MAKING_STEP (10 * USEC_PER_MSEC)
#define DROP_USEC   (10 * USEC_PER_SEC) /* for QEMU's start and the copy to be given up */

struct restore {
	struct sandbox *sandbox; /* counted while a coroutine is inside */
	struct vm *vm;
	struct template template;
	int memory_fd; /* the clone's, or that of all */
	unsigned int n_inside;
	bool shared, copied;
	int copy_result, result;
	struct err err;
};

/* --- memory in a file --- */

static int new_memory(uint64_t size, struct err *err)
{
	_cleanup_(closep) int fd = memfd_create(MEMORY_NAME, MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
		return err_set(err, -errno, "make the guest's memory");
	return TAKE_FD(fd);
}

static bool has_template(const struct sandbox *s)
{
	_cleanup_(template_fini) struct template t;

	template_init(&t);
	return template_open(s->config->factory.template_path, s->template_key, &t, NULL) == 0;
}

int boot_name_vm(void *context, struct err *err)
{
	struct sandbox *s = context;

	return vm_fingerprint(s->vm, s->template_key, err);
}

int boot_save_memory(void *context, struct err *err)
{
	struct sandbox *s = context;
	int r;

	r = boot_name_vm(s, err);
	if (r < 0)
		return r;
	if (s->wanted_key && !streq(s->wanted_key, s->template_key))
		return err_setx(err, -ESTALE,
				"the configuration is that of another kind of virtual machine");
	if (has_template(s))
		return err_setx(err, -EALREADY, "there is a good template");
	s->memory_fd = new_memory(s->memory_mib << 20, err);
	return s->memory_fd < 0 ? s->memory_fd
				: vm_set_memory(s->vm, s->memory_fd, VM_MEMORY_TO_SAVE, err);
}

void boot_forget_memory(void *context)
{
	struct sandbox *s = context;

	s->memory_fd = fd_close(s->memory_fd);
}

/* --- the restore, beside the boot --- */

static void leave(struct restore *t)
{
	struct sandbox *s = t->sandbox;

	t->n_inside--;
	co_cond_wake_all(&s->changed);
	sandbox_unref(s);
}

static int copy_in_child(void *arg, _unused_ void *reply)
{
	const struct restore *t = arg;
	uint64_t copied;

	/* Others will have it, too, and longer. */
	if (t->shared)
		sandbox_expel(t->sandbox, getpid());
	return template_copy_memory(t->template.memory_fd, t->memory_fd, t->template.memory_size,
				    false, &copied);
}

/* From now on others find it, those that wait for it, too. */
static void offer(struct restore *t)
{
	t->sandbox->disk.memory_fd = t->memory_fd;
	sandbox_save(t->sandbox);
	(void)flock(t->template.memory_fd, LOCK_UN);
}

static void copy_memory(void *arg)
{
	struct restore *t = arg;
	uint64_t began = clock_now();

	t->copy_result = blocking_run(copy_in_child, t, NULL, 0, clock_after(COPY_USEC));
	if (t->copy_result == 0 && t->shared)
		t->copy_result = shared_memory_seal(t->memory_fd, NULL);
	if (t->copy_result == 0 && t->shared)
		offer(t);
	t->copied = true;
	log_debug("copied the template's memory: %" PRIu64 " us", clock_now() - began);
	leave(t);
}

static void restore_vm(void *arg)
{
	struct restore *t = arg;
	struct sandbox *s = t->sandbox;
	uint64_t began = clock_now();

	t->result = vm_start(t->vm, &t->err);
	log_debug("QEMU answers: %" PRIu64 " us", clock_now() - began);
	while (t->result == 0 && !t->copied)
		co_cond_wait(&s->changed, USEC_NEVER);
	if (t->result == 0 && t->copy_result < 0)
		t->result = err_set(&t->err, t->copy_result, "copy the template's memory");
	if (t->result == 0)
		t->result = vm_load(t->vm, t->template.state_fd, &t->err);
	log_debug("restored the VM: %" PRIu64 " us", clock_now() - began);
	leave(t);
}

static void enter(struct restore *t, co_fn fn)
{
	t->n_inside++;
	sandbox_ref(t->sandbox);
	co_start(t->sandbox->loop, fn, t);
}

static void restore_free(struct restore *t)
{
	if (!t)
		return;
	template_fini(&t->template);
	fd_close(t->memory_fd);
	err_clear(&t->err);
	free(t);
}
DEFINE_CLEANUP(struct restore *, restore_free)

/* Memory that is to be there from the start, or in huge pages, is not copied page by page. */
bool boot_can_restore(const struct config *config)
{
	const struct config_hypervisor *h = &config->hypervisor;

	return config->factory.enable_template && !h->enable_hugepages && !h->enable_mem_prealloc;
}

static int open_template(struct sandbox *s, struct template *ret, struct err *err)
{
	const char *root = s->config->factory.template_path;
	int r;

	if (s->template_folder)
		return template_open_at(s->template_folder, ret, err);
	r = boot_name_vm(s, err);
	if (r == 0)
		r = template_open(root, s->template_key, ret, err);
	if (r == -EBADMSG)
		(void)template_remove(root, s->template_key, NULL);
	return r;
}

/* That of another clone. Whoever locks the template's file makes it; we wait for him, to have one
 * and not two. */
static int find_shared(const struct restore *t)
{
	uint64_t deadline = clock_after(MAKING_USEC);
	int fd = shared_memory_find(t->template.state_digest, t->template.memory_size);

	while (fd < 0 && flock(t->template.memory_fd, LOCK_EX | LOCK_NB) < 0 &&
	       clock_now() < deadline) {
		co_sleep(MAKING_STEP);
		fd = shared_memory_find(t->template.state_digest, t->template.memory_size);
	}
	/* He may have been done between the look and the lock. */
	return fd < 0 ? shared_memory_find(t->template.state_digest, t->template.memory_size) : fd;
}

/* The memory that the clone begins with; t->copied: it is complete. */
static int get_memory(struct restore *t, struct err *err)
{
	const struct sandbox *s = t->sandbox;
	uint64_t size = t->template.memory_size;

	t->shared = s->config->factory.shared_clones && !s->share.n_views;
	if (t->shared)
		t->memory_fd = find_shared(t);
	t->copied = t->memory_fd >= 0;
	if (!t->copied)
		t->memory_fd = t->shared ? shared_memory_new(t->template.state_digest, size, err)
					 : new_memory(size, err);
	return t->memory_fd < 0 ? t->memory_fd
				: vm_set_memory(t->vm, t->memory_fd,
						t->shared ? VM_MEMORY_SHARED : VM_MEMORY_OWN, err);
}

int boot_find_template(void *context, struct err *err)
{
	struct sandbox *s = context;
	_cleanup_(restore_freep) struct restore *t = NULL;
	_cleanup_err_ struct err why = {0};
	int r;

	if (s->boots || !boot_can_restore(s->config))
		return 0;
	t = xnew(struct restore);
	*t = (struct restore){.sandbox = s, .vm = s->vm, .memory_fd = -1};
	template_init(&t->template);
	r = open_template(s, &t->template, &why);
	s->found_none = r == -ENOENT || r == -EBADMSG;
	if (r < 0 && !s->template_folder) {
		/* The first one on this host, or of this kind. */
		if (r == -ENOENT)
			log_info("there is no template for this sandbox: it boots");
		else
			log_warn("template: %s: the sandbox boots", err_text(&why));
		return 0;
	}
	if (r < 0) {
		err_move(err, &why);
		return r;
	}
	if (t->template.memory_size != s->memory_mib << 20)
		return err_setx(err, -EBADMSG, "the template is for a VM of another size");
	r = get_memory(t, err);
	if (r < 0)
		return r;
	s->was_restored = true;
	if (!t->copied)
		enter(t, copy_memory);
	enter(t, restore_vm);
	s->restore = TAKE_PTR(t);
	return 0;
}

/* Until both have left: the VM that they use is about to go. */
static void give_up(struct sandbox *s)
{
	uint64_t deadline = clock_after(DROP_USEC);

	if (s->restore->n_inside)
		vm_stop(s->vm, NULL);
	while (s->restore->n_inside && clock_now() < deadline)
		co_cond_wait(&s->changed, deadline);
	if (s->restore->n_inside)
		log_error("the restore of the VM does not come to its end");
	else
		restore_free(s->restore);
	s->restore = NULL;
}

void boot_drop_template(void *context)
{
	struct sandbox *s = context;

	if (s->loop && s->restore)
		give_up(s);
	s->disk.memory_fd = -1;
	s->memory_fd = fd_close(s->memory_fd);
}

int boot_await_restore(struct sandbox *s, struct err *err)
{
	struct restore *t = s->restore;

	s->on_trial = true;
	while (t->n_inside && clock_now() < s->deadline)
		co_cond_wait(&s->changed, s->deadline);
	if (t->n_inside)
		return err_setx(err, -ETIMEDOUT, "the VM is not restored in time");
	/* The clone has its own; a template that was removed meanwhile need not be kept. */
	template_fini(&t->template);
	if (t->result == 0 && t->shared)
		s->disk.memory_fd = s->memory_fd = TAKE_FD(t->memory_fd);
	t->memory_fd = fd_close(t->memory_fd);
	if (t->result < 0)
		err_move(err, &t->err);
	return t->result;
}

/* --- a guest of its own --- */

static int reseed(struct sandbox *s, struct err *err)
{
	Grpc__ReseedRandomDevRequest seed = GRPC__RESEED_RANDOM_DEV_REQUEST__INIT;
	uint8_t bytes[SEED_SIZE];
	int r;

	if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
		return err_setx(err, -EIO, "no random numbers for the guest");
	seed.data.data = bytes;
	seed.data.len = sizeof(bytes);
	r = agent_reseed_random(s->agent, &seed, clock_after(s->patience), err);
	explicit_bzero(bytes, sizeof(bytes));
	return r;
}

/*
 * All clones begin with the same state of the random number generator, and with the time at which
 * the template was saved. Both are mended before anything else happens in the guest.
 */
int boot_freshen(void *context, struct err *err)
{
	struct sandbox *s = context;
	int r;

	/* Without KVM a guest that boots takes the time from a clock that knows seconds only. A
	 * spare has waited, and its host may have slept. */
	if (!s->restore && !s->former)
		return s->disk.emulated ? boot_set_clock(s, err) : 0;
	r = reseed(s, err);
	if (r == 0)
		r = boot_set_clock(s, err);
	if (r == 0)
		s->on_trial = false;
	return r;
}

bool boot_may_boot_instead(struct sandbox *s, const struct err *err)
{
	const char *root = s->config->factory.template_path;

	if (!s->was_restored || s->template_folder || s->aborted)
		return false;
	log_warn("the sandbox could not be restored from its template, it boots: %s",
		 err ? err_text(err) : "no reason is known");
	if (s->on_trial && template_remove(root, s->template_key, NULL) == 0) {
		log_warn("template %.12s is removed", s->template_key);
		template_note_failure(root, s->template_key);
	}
	s->on_trial = s->was_restored = false;
	s->boots = true;
	return true;
}

const char *sandbox_wanted_template(const struct sandbox *s, const char **ret_config)
{
	const struct config_factory *f = &s->config->factory;

	if (!s->found_none || !*s->template_key || !f->auto_build_template || has_template(s) ||
	    template_has_failed(f->template_path, s->template_key))
		return NULL;
	*ret_config = s->config->file ? s->config->file : "";
	return s->template_key;
}
