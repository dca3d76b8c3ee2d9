/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/path.h"
#include "runtime/blocking.h"
#include "runtime/model.h"

/*
 * After a crash: a sandbox without a loop is made from the state file, and the boot is undone on
 * it. Without a readable file the id alone tells where things are. It happens when containerd says
 * `delete`, when the id is wanted again and nobody has said so, and when another sandbox runs.
 */

#define LEFT_TIMEOUT (15 * USEC_PER_SEC) /* QEMU's end and the control groups' */

/* Takes `disk`. */
static int from_disk(struct persist *disk, struct sandbox **ret, struct err *err)
{
	int r = sandbox_new(NULL, NULL, disk->id, NULL, NULL, NULL, ret, err);

	if (r < 0) {
		persist_fini(disk);
		return r;
	}
	persist_fini(&(*ret)->disk);
	(*ret)->disk = *disk;
	return 0;
}

static int undo_in_child(void *arg, _unused_ void *reply)
{
	boot_undo(arg);
	return 0;
}

int cleanup_left(struct persist *left, struct err *err)
{
	struct sandbox *s;
	int r = from_disk(left, &s, err);

	if (r < 0)
		return r;
	log_warn("sandbox %s: removing what its last owner has left", s->id);
	r = blocking_run(undo_in_child, s, NULL, 0, clock_after(LEFT_TIMEOUT));
	if (r < 0)
		err_set(err, r, "remove what an earlier sandbox %s has left", s->id);
	sandbox_free(s);
	return r;
}

int sandbox_cleanup(const char *id, const char *owner, pid_t ended, struct err *err)
{
	struct persist disk;
	struct sandbox *s;
	int r;

	if (!path_is_id(id))
		return err_setx(err, -EINVAL, "\"%s\" cannot be the name of a sandbox", id);
	r = persist_take_over(id, owner, ended, &disk, err);
	if (r <= 0)
		return r;
	r = from_disk(&disk, &s, err);
	if (r < 0)
		return r;
	s->claimed = true;
	boot_undo(s);
	sandbox_free(s);
	return 0;
}

/* One that lives is looked at without a word; the rest is sandbox_cleanup()'s. */
static bool is_dead(const char *id)
{
	_cleanup_err_ struct err err = {0};
	struct persist p;
	bool dead;

	if (persist_load(id, &p, &err) < 0)
		return false;
	dead = !persist_holder(&p);
	persist_fini(&p);
	return dead;
}

void sandbox_sweep(const char *prefix, const char *id)
{
	_cleanup_(strv_fini) struct strv ids = {0};
	_cleanup_err_ struct err err = {0};

	if (persist_list(&ids, &err) < 0)
		log_warn("%s", err_text(&err));
	for (size_t i = 0; i < ids.n; i++) {
		if (!str_has_prefix(ids.v[i], prefix) || streq(ids.v[i], id) || !is_dead(ids.v[i]))
			continue;
		log_warn("sandbox %s: its shim has ended, and nobody has cleaned up: removing it",
			 ids.v[i]);
		err_clear(&err);
		if (sandbox_cleanup(ids.v[i], NULL, 0, &err) < 0)
			log_warn("clean up sandbox %s: %s", ids.v[i], err_text(&err));
	}
}
