/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/live_volume.h"

#include <errno.h>
#include <sys/mount.h>

#include "base/log.h"
#include "base/path.h"
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
 * container wants it and it is not what was sent, and written when the guest's is not.
 */

#define SETTLE             (10 * USEC_PER_MSEC)
#define RETRY_MAX          (30 * USEC_PER_SEC)
#define BRING_BACK_TIMEOUT (5 * USEC_PER_SEC) /* the end of a container waits for it */
#define NAME_PART          64                 /* of a volume's own name in that of its copy */

struct live_volumes {
	struct list list; /* struct live_volume, those in use */
	struct volume_watches watches;
};

struct live_volume {
	struct live_volumes *all; /* NULL: nobody uses it any more */
	struct list link;
	struct sandbox *sandbox;
	char *path, *name;    /* here; in the guest */
	bool single;          /* a file */
	bool writable;        /* … for a container */
	struct ns_maps idmap; /* of the owners in the guest */
	unsigned int n_users; /* containers */
	unsigned int n_refs;  /* who looks at it: the users together, coroutines */
	struct volume_watch watch;
	bool dirty;          /* may differ from what is in the guest */
	bool updating;       /* keep_up() runs */
	struct co_lock lock; /* of what is in the guest */
	bool in_guest;
	uint8_t digest[SHA256_SIZE];  /* of that */
	uint8_t content[SHA256_SIZE]; /* of the file that both sides have last had … */
	struct host_file file;        /* … and which it is here */
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

static int send_changed(struct live_volume *v, uint64_t deadline, struct err *err)
{
	_cleanup_(snapshot_fini) struct snapshot snapshot = {.fd = -1};
	uint64_t began = clock_now();
	int r = v->single
			? snapshot_take_file(v->path, v->name, &v->idmap, deadline, &snapshot, err)
			: snapshot_take(v->path, v->name, &v->idmap, deadline, &snapshot, err);

	if (r < 0 || (v->in_guest && !memcmp(v->digest, snapshot.digest, sizeof(v->digest))))
		return r;
	/* What comes of a call that fails nobody knows. */
	v->in_guest = false;
	r = send_all(v, &snapshot, deadline, err);
	if (r < 0)
		return r;
	v->in_guest = true;
	memcpy(v->digest, snapshot.digest, sizeof(v->digest));
	memcpy(v->content, snapshot.content, sizeof(v->content));
	v->file = snapshot.file;
	log_debug("volume %s: brought to the guest in %llu us", v->path,
		  (unsigned long long)(clock_now() - began));
	return 0;
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
		if (r < 0)
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

static struct live_volume *get(struct sandbox *s, const char *path, bool single,
			       const struct ns_maps *idmap)
{
	struct live_volumes *all = get_all(s);
	struct live_volume *v;
	char part[NAME_PART];

	list_for_each (v, &all->list, link)
		if (streq(v->path, path) && v->single == single && ns_maps_equal(&v->idmap, idmap))
			return v;
	v = xnew(struct live_volume);
	v->all = all;
	v->sandbox = s;
	sandbox_ref(s);
	v->path = xstrdup(path);
	v->single = single;
	v->idmap = ns_maps_copy(idmap);
	/* The number alone makes it unique, the rest is for people. */
	snprintf(part, sizeof(part), "%s", path_name(path));
	v->name = xasprintf("%llu-%s", (unsigned long long)s->next_live++,
			    path_is_id(part) ? part : "volume");
	co_lock_init(&v->lock);
	v->n_refs = 1;
	v->dirty = true;
	list_add_tail(&all->list, &v->link);
	if (!single)
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

static int use(struct container *c, Grpc__Mount *m, bool single, const struct ns_maps *idmap,
	       uint64_t deadline, struct err *err)
{
	struct live_volume *v = get(c->sandbox, m->source, single, idmap);
	bool recursive_read_only;
	int r;

	v->n_users++;
	c->live = xreallocarray(c->live, c->n_live + 1, sizeof(struct live_volume *));
	c->live[c->n_live++] = v;
	v->dirty |= single;
	v->writable |= !(volume_bind_flags(m, &recursive_read_only) & MS_RDONLY);
	r = update(v, deadline, err);
	if (r >= 0) {
		_cleanup_(freep) char *guest = NULL;

		guest = xasprintf(LIVE_VOLUME_GUEST_DIR "/%s%s", v->name,
				  single ? "/" SNAPSHOT_FILE : "");
		spec_set(&m->source, guest);
		spec_set(&m->type, "bind");
	}
	return r < 0 ? err_wrap(err, r, "mount %s", m->destination) : 0;
}

static int prepare(struct container *c, Grpc__Mount *m, bool single, const struct host_mount *bind,
		   uint64_t deadline, struct err *err)
{
	const char *feature = single ? COPIED_FILES_FEATURE : LIVE_VOLUME_FEATURE;

	return agent_has(c->sandbox->agent, feature)
		       ? use(c, m, single, &bind->idmap, deadline, err)
		       : -EOPNOTSUPP;
}

int live_volumes_prepare(struct container *c, Grpc__Spec *spec, const enum volume_kind *kinds,
			 uint64_t deadline, struct err *err)
{
	int r = 0;

	for (size_t i = 0; i < spec->n_mounts && r >= 0; i++) {
		Grpc__Mount *m = spec->mounts[i];
		struct host_mount bind = {0};

		if (kinds[i] != VOLUME_LIVE && kinds[i] != VOLUME_COPIED)
			continue;
		r = id_maps_of_mount(spec, m, &bind, err);
		if (r >= 0)
			r = prepare(c, m, kinds[i] == VOLUME_COPIED, &bind, deadline, err);
		if (r == -EOPNOTSUPP)
			r = volume_share(m, &bind, &(struct host_file){0}, i, c->id,
					 &c->sandbox->share, &c->mounts, err);
		ns_maps_fini(&bind.idmap);
	}
	return r;
}

void live_volumes_release(struct container *c)
{
	while (c->n_live)
		put(c->live[--c->n_live]);
	free(TAKE_PTR(c->live));
}

/* --- the way back --- */

static int put_back(struct live_volume *v, const ProtobufCBinaryData *data, struct err *err)
{
	uint8_t content[SHA256_SIZE];
	struct sha256 sum;
	int r;

	sha256_init(&sum);
	sha256_add(&sum, data->data, data->len);
	sha256_end(&sum, content);
	if (memcmp(content, v->content, sizeof(content)) == 0)
		return 0;
	r = snapshot_put_back(v->path, v->file, data->data, data->len, clock_after(CALL_TIMEOUT),
			      err);
	if (r == 0)
		memcpy(v->content, content, sizeof(content));
	return r;
}

static int bring_back(struct live_volume *v, struct err *err)
{
	Grpc__ReadCopiedFileRequest request = GRPC__READ_COPIED_FILE_REQUEST__INIT;
	Grpc__ReadCopiedFileResponse *answer = NULL;
	int r;

	request.name = v->name;
	r = agent_read_copied_file(v->sandbox->agent, &request, clock_after(BRING_BACK_TIMEOUT),
				   &answer, err);
	if (r < 0)
		return r;
	r = put_back(v, &answer->data, err);
	protobuf_c_message_free_unpacked(&answer->base, NULL);
	return r;
}

void live_volumes_bring_back(struct container *c)
{
	for (size_t i = 0; i < c->n_live; i++) {
		struct live_volume *v = c->live[i];
		_cleanup_err_ struct err err = {0};
		int r = 0;

		if (!v->single || !v->writable || !v->in_guest)
			continue;
		v->n_refs++;
		co_lock(&v->lock);
		if (v->all)
			r = bring_back(v, &err);
		co_unlock(&v->lock);
		if (r < 0 && sandbox_usable(v->sandbox, NULL) >= 0)
			log_warn("container %s: what it has written to %s is lost: %s", c->id,
				 v->path, err_text(&err));
		unref(v);
	}
}
