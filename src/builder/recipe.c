/* SPDX-License-Identifier: Apache-2.0 */
#include "builder/recipe.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <zlib.h>

#include "base/cleanup.h"
#include "base/fs.h"
#include "base/path.h"
#include "builder/cpio.h"
#include "builder/manifest.h"
#include "builder/rootfs.h"
#include "builder/store.h"

/*
 * How it works: the kernel is chosen first (by names alone). Then the manifest of the current image
 * is compared: same options and every input and output as it was means that there is nothing to do.
 * Otherwise, under the store's lock: the modules are resolved, all inputs are hashed into a new
 * manifest, and the key of everything that shapes the image, wherever it lies, names the
 * generation; then kernel, initrd and disk image are written to a working folder, which becomes the
 * current generation in one step. An uncompressed kernel of the same source is linked from the
 * current generation instead of extracted again.
 */

/* Of the modules folder: what libkmod answers from. */
static const char *const index_files[] = {
	"modules.dep.bin",
	"modules.alias.bin",
	"modules.builtin.bin",
	"modules.softdep",
};

struct build {
	const struct recipe *recipe;
	struct recipe_report *report;
	struct store store;
	struct manifest known; /* of the current image; options NULL without one */
	struct manifest fresh; /* of the image being made */
	char key[SHA256_HEX_SIZE];
	char *folder; /* of the image being made */
};

static void build_fini(struct build *b)
{
	store_abort(b->folder);
	free(b->folder);
	manifest_fini(&b->known);
	manifest_fini(&b->fresh);
	store_fini(&b->store);
}

static void step(const struct build *b, const char *text)
{
	if (b->recipe->progress)
		b->recipe->progress(text);
}

static int choose_kernel(struct build *b, struct err *err)
{
	struct kernel *kernel = &b->report->kernel;
	struct utsname host;
	int r;

	if (b->recipe->kernel)
		return kernel_use(b->recipe->kernel, b->recipe->modules_dir, kernel, err);
	if (uname(&host) < 0)
		return err_set(err, -errno, "uname");
	r = kernel_find("", host.release, kernel, err);
	if (r == 0 && b->recipe->modules_dir) {
		free(kernel->modules_dir);
		kernel->modules_dir = xstrdup(b->recipe->modules_dir);
	}
	return r;
}

/* Everything that shapes the image and is no file, on one line. */
static char *describe_shape(const struct recipe *recipe)
{
	_cleanup_(freep) char *extra = strv_join(&recipe->extra_modules, ",");

	return xasprintf("version=%s extra=%s disk=%s compress=%d mtime=%jd", KATA_VERSION, extra,
			 disk_format_name(recipe->disk), recipe->compress, (intmax_t)recipe->mtime);
}

/* The same with the files that were chosen: another choice is a reason to look again. */
static char *describe_options(const struct build *b)
{
	const struct recipe *recipe = b->recipe;
	const struct kernel *kernel = &b->report->kernel;
	_cleanup_(freep) char *shape = describe_shape(recipe);

	return xasprintf("%s kernel=%s modules=%s agent=%s shell=%s", shape, kernel->path,
			 kernel->modules_dir, recipe->agent,
			 recipe->busybox ? recipe->busybox : "");
}

/* True when the image has to be made, with the reason in the report. */
static bool needs_build(struct build *b)
{
	_cleanup_(freep) char *options = describe_options(b);
	const char *changed;

	manifest_fini(&b->known);
	free(b->report->reason);
	b->report->reason = NULL;
	if (!b->store.current || manifest_load(b->store.current, &b->known) < 0)
		b->report->reason = xstrdup("there is no image yet");
	else if (b->recipe->force)
		b->report->reason = xstrdup("it was asked for (--force)");
	else if (!streq(options, b->known.options))
		b->report->reason = xstrdup("the options or the kernel are others");
	else if ((changed = manifest_changed(&b->known, b->store.current)))
		b->report->reason = xasprintf("%s has changed", changed);
	return b->report->reason != NULL;
}

static uint64_t output_size(const struct manifest *m, const char *name)
{
	for (size_t i = 0; i < m->outputs.n; i++)
		if (streq(m->outputs.v[i].path, name))
			return m->outputs.v[i].size;
	return 0;
}

static void report_outputs(struct recipe_report *report, const char *generation,
			   const struct manifest *m)
{
	free(report->generation);
	report->generation = xstrdup(generation);
	report->kernel_size = output_size(m, STORE_KERNEL);
	report->initrd_size = output_size(m, STORE_INITRD);
	report->disk_size = output_size(m, STORE_IMAGE);
	report->disk_initrd_size = output_size(m, STORE_IMAGE_INITRD);
}

static int resolve_modules(struct build *b, struct err *err)
{
	const struct kernel *kernel = &b->report->kernel;
	int r;

	step(b, "resolving modules");
	r = modules_resolve(kernel->modules_dir, b->recipe->extra_modules.v, &b->report->modules,
			    err);
	if (r == 0 && b->recipe->disk != DISK_NONE)
		r = modules_resolve_disk(kernel->modules_dir, disk_format_name(b->recipe->disk),
					 &b->report->disk_modules, err);
	return r;
}

/* An input of the image, and its part in the key: what it is there for and what is in it. */
static int add_input(struct build *b, const char *path, const char *role, struct buf *key,
		     struct err *err)
{
	int r = 0;

	if (!manifest_input(&b->fresh, path))
		r = manifest_add_input(&b->fresh, path, &b->known, err);
	if (r == 0)
		buf_addf(key, "%s %s\n", manifest_input(&b->fresh, path)->hash, role);
	return r;
}

static int add_modules(struct build *b, const struct modules *modules, struct buf *key,
		       struct err *err)
{
	const char *dir = b->report->kernel.modules_dir;
	int r = 0;

	for (size_t i = 0; r == 0 && i < modules->files.n; i++) {
		_cleanup_(freep) char *inside = modules_guest_path(dir, modules->files.v[i]);

		r = add_input(b, modules->files.v[i], inside, key, err);
	}
	return r;
}

static int hash_inputs(struct build *b, struct err *err)
{
	const struct recipe *recipe = b->recipe;
	const struct kernel *kernel = &b->report->kernel;
	const struct {
		const char *role, *path;
	} programs[] = {{"agent", recipe->agent},
			{"builder", recipe->self},
			{"shell", recipe->busybox},
			{"kernel", kernel->path}};
	_cleanup_(buf_fini) struct buf key = {0};
	_cleanup_(freep) char *shape = describe_shape(recipe);
	int r = 0;

	step(b, "reading inputs");
	b->fresh.options = describe_options(b);
	buf_addf(&key, "%s\n", shape);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(programs); i++)
		if (programs[i].path)
			r = add_input(b, programs[i].path, programs[i].role, &key, err);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(index_files); i++) {
		_cleanup_(freep) char *path = path_join(kernel->modules_dir, index_files[i]);

		if (fs_exists(path))
			r = add_input(b, path, index_files[i], &key, err);
	}
	if (r == 0)
		r = add_modules(b, &b->report->modules, &key, err);
	if (r == 0)
		r = add_modules(b, &b->report->disk_modules, &key, err);
	if (r == 0)
		sha256_hex(key.data, key.len, b->key);
	return r;
}

static bool same_content(const struct build *b, const char *path)
{
	const struct manifest_file *then = manifest_input(&b->known, path);
	const struct manifest_file *now = manifest_input(&b->fresh, path);

	return then && now && streq(then->hash, now->hash);
}

/* The current generation's kernel is intact, of the same file and by the same builder: link it. */
static bool reuse_kernel(struct build *b)
{
	struct manifest outputs = {.outputs = b->known.outputs};

	if (b->recipe->force || !same_content(b, b->report->kernel.path) ||
	    (b->recipe->self && !same_content(b, b->recipe->self)) ||
	    manifest_changed(&outputs, b->store.current))
		return false;
	return store_link(&b->store, b->folder, STORE_KERNEL) == 0;
}

static int make_kernel(struct build *b, struct err *err)
{
	_cleanup_(kernel_image_fini) struct kernel_image image = {0};
	int r;

	if (reuse_kernel(b)) {
		b->report->kernel_reused = true;
		return 0;
	}
	step(b, "extracting the kernel");
	r = kernel_extract(b->report->kernel.path, &image, err);
	if (r < 0)
		return r;
	b->report->pvh = image.pvh;
	b->report->kernel_why = xstrdup(image.kept_why);
	return store_write(b->folder, STORE_KERNEL, image.data.data, image.data.len, err);
}

static int fill_tree(struct build *b, const struct modules *modules, const char *busybox,
		     struct tree *tree, struct err *err)
{
	int r;

	rootfs_add_base(tree);
	r = rootfs_add_agent(tree, b->recipe->agent, err);
	if (r == 0)
		r = rootfs_add_modules(tree, modules, b->report->kernel.modules_dir, err);
	if (r == 0 && busybox)
		r = rootfs_add_shell(tree, busybox, err);
	tree_sort(tree);
	return r;
}

/* zlib's gzip: no name, no time, so equal input gives equal output. */
static int gzip(const struct buf *in, struct buf *out)
{
	z_stream z = {.next_in = (Bytef *)in->data, .avail_in = (uInt)in->len};
	int r;

	if (deflateInit2(&z, Z_BEST_COMPRESSION, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY) !=
	    Z_OK)
		return -ENOMEM;
	buf_reserve(out, deflateBound(&z, (uLong)in->len));
	z.next_out = (Bytef *)out->data;
	z.avail_out = (uInt)out->cap;
	r = deflate(&z, Z_FINISH);
	out->len = z.total_out;
	deflateEnd(&z);
	return r == Z_STREAM_END ? 0 : -EIO;
}

static int make_initrd(struct build *b, const struct tree *tree, const char *name, struct err *err)
{
	_cleanup_(buf_fini) struct buf archive = {0}, packed = {0};
	struct buf *result = &archive;
	int r;

	step(b, "writing the initrd");
	r = cpio_encode(tree, b->recipe->mtime, &archive);
	if (r == 0 && b->recipe->compress) {
		r = gzip(&archive, &packed);
		result = &packed;
	}
	if (r < 0)
		return err_set(err, r, "make %s", name);
	return store_write(b->folder, name, result->data, result->len, err);
}

/* The image, and what mounts it where the kernel has the drivers as modules. */
static int make_disk(struct build *b, const struct tree *tree, struct err *err)
{
	_cleanup_(tree_fini) struct tree small = {0};
	int r;

	if (b->recipe->disk == DISK_NONE)
		return 0;
	step(b, "writing the disk image");
	r = disk_make(tree, b->recipe->disk, b->folder, STORE_IMAGE, b->key, b->recipe->mtime, err);
	if (r < 0 || !b->report->disk_modules.files.n)
		return r;
	r = fill_tree(b, &b->report->disk_modules, NULL, &small, err);
	return r < 0 ? r : make_initrd(b, &small, STORE_IMAGE_INITRD, err);
}

static int record_outputs(struct build *b, struct err *err)
{
	const struct {
		const char *name;
		bool made;
	} files[] = {{STORE_KERNEL, true},
		     {STORE_INITRD, true},
		     {STORE_IMAGE, b->recipe->disk != DISK_NONE},
		     {STORE_IMAGE_INITRD, b->report->disk_modules.files.n > 0}};
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(files); i++)
		if (files[i].made)
			r = manifest_add_output(&b->fresh, b->folder, files[i].name, err);
	return r < 0 ? r : manifest_save(&b->fresh, b->folder, err);
}

static int make_generation(struct build *b, struct err *err)
{
	_cleanup_(freep) char *name = xasprintf("%s-%.16s", b->report->kernel.release, b->key);
	_cleanup_(tree_fini) struct tree tree = {0};
	int r = store_begin(&b->store, &b->folder, err);

	if (r == 0)
		r = make_kernel(b, err);
	if (r == 0)
		r = fill_tree(b, &b->report->modules, b->recipe->busybox, &tree, err);
	if (r == 0)
		r = make_initrd(b, &tree, STORE_INITRD, err);
	if (r == 0)
		r = make_disk(b, &tree, err);
	if (r == 0)
		r = record_outputs(b, err);
	if (r == 0)
		r = store_commit(&b->store, b->folder, name, err);
	if (r < 0)
		return r;
	free(b->folder);
	b->folder = NULL;
	b->report->outcome = RECIPE_BUILT;
	report_outputs(b->report, b->store.current, &b->fresh);
	return 0;
}

/* Up to the question whether there is something to do. *ret_needed false: the report is complete.
 */
static int prepare(struct build *b, bool *ret_needed, struct err *err)
{
	int r = choose_kernel(b, err);

	if (r == 0)
		r = store_open(b->recipe->output, &b->store, err);
	if (r < 0)
		return r;
	*ret_needed = needs_build(b);
	if (b->store.current)
		report_outputs(b->report, b->store.current, &b->known);
	return 0;
}

int recipe_plan(const struct recipe *recipe, struct recipe_report *ret, struct err *err)
{
	_cleanup_(recipe_report_fini) struct recipe_report report = {0};
	_cleanup_(build_fini) struct build b = {
		.recipe = recipe, .report = &report, .store.lock = -1};
	bool needed;
	int r = prepare(&b, &needed, err);

	if (r == 0)
		r = resolve_modules(&b, err);
	if (r < 0)
		return r;
	report.outcome = needed ? RECIPE_WOULD_BUILD : RECIPE_UNCHANGED;
	*ret = report;
	report = (struct recipe_report){0};
	return 0;
}

int recipe_build(const struct recipe *recipe, struct recipe_report *ret, struct err *err)
{
	_cleanup_(recipe_report_fini) struct recipe_report report = {0};
	_cleanup_(build_fini) struct build b = {
		.recipe = recipe, .report = &report, .store.lock = -1};
	bool needed;
	int r = prepare(&b, &needed, err);

	if (r == 0 && needed) {
		r = store_lock(&b.store, err);
		if (r < 0)
			return r;
		/* Another builder may have done it while we waited. */
		needed = needs_build(&b);
		if (!needed)
			report_outputs(&report, b.store.current, &b.known);
	}
	if (r == 0 && needed)
		r = resolve_modules(&b, err);
	if (r == 0 && needed)
		r = hash_inputs(&b, err);
	if (r == 0 && needed)
		r = make_generation(&b, err);
	if (r < 0)
		return r;
	*ret = report;
	report = (struct recipe_report){0};
	return 0;
}

void recipe_report_fini(struct recipe_report *report)
{
	kernel_fini(&report->kernel);
	modules_fini(&report->modules);
	modules_fini(&report->disk_modules);
	free(report->reason);
	free(report->generation);
	free(report->kernel_why);
	*report = (struct recipe_report){0};
}
