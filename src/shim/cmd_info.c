/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fd.h"
#include "google/protobuf/any.pb-c.h"
#include "oci/oci_features.h"
#include "shim/cmd.h"
#include "types_containerd.pb-c.h"

/*
 * containerd 2.x asks for this when it lists its runtimes. The options that it sends on standard
 * input are given back, as the manual says. From the features of the OCI runtime its CRI plugin
 * tells the kubelet whether there are recursive read-only mounts.
 */

#define OPTIONS_MAX (1U << 20)
/*
 * Of what containerd's mount manager would do for us (its docs/mounts.md): layers of EROFS, and the
 * overlay that is to be mounted over them, come to us as they are, to become disks of the VM.
 */
#define ALLOW_MOUNTS "containerd.io/runtime-allow-mounts"
#define OUR_MOUNTS   "format/*,mkdir/*,erofs"
/* How containerd registers the document (core/runtime/typeurl.go); the value is JSON. */
#define FEATURES_TYPE "types.containerd.io/opencontainers/runtime-spec/1/features/Features"

static int read_options(Google__Protobuf__Any **ret, struct err *err)
{
	_cleanup_(freep) uint8_t *data = xmalloc(OPTIONS_MAX);
	ssize_t n = isatty(STDIN_FILENO) ? 0 : fd_read_full(STDIN_FILENO, data, OPTIONS_MAX);

	if (n == -EBADF || n == 0)
		return 0;
	if (n < 0)
		return err_set(err, (int)n, "read the options on standard input");
	*ret = google__protobuf__any__unpack(NULL, n, data);
	if (!*ret)
		return err_setx(err, -EINVAL, "standard input is not a protobuf Any");
	return 0;
}

int cmd_info(struct err *err)
{
	Containerd__Types__RuntimeVersion version = CONTAINERD__TYPES__RUNTIME_VERSION__INIT;
	Containerd__Types__RuntimeInfo info = CONTAINERD__TYPES__RUNTIME_INFO__INIT;
	Google__Protobuf__Any features = GOOGLE__PROTOBUF__ANY__INIT;
	Containerd__Types__RuntimeInfo__AnnotationsEntry mounts =
		CONTAINERD__TYPES__RUNTIME_INFO__ANNOTATIONS_ENTRY__INIT;
	Containerd__Types__RuntimeInfo__AnnotationsEntry *annotations[] = {&mounts};
	_cleanup_(freep) char *document = oci_features();
	_cleanup_(freep) uint8_t *packed = NULL;
	size_t n;
	int r = read_options(&info.options, err);

	if (r < 0)
		return r;
	version.version = (char *)KATA_VERSION;
	info.name = (char *)"io.containerd.kata.v2";
	info.version = &version;
	features.type_url = (char *)FEATURES_TYPE;
	features.value = (ProtobufCBinaryData){strlen(document), (uint8_t *)document};
	info.features = &features;
	mounts.key = (char *)ALLOW_MOUNTS;
	mounts.value = (char *)OUR_MOUNTS;
	info.annotations = annotations;
	info.n_annotations = ARRAY_SIZE(annotations);
	packed = xmalloc(containerd__types__runtime_info__get_packed_size(&info));
	n = containerd__types__runtime_info__pack(&info, packed);
	r = fd_write_all(STDOUT_FILENO, packed, n);
	if (info.options)
		google__protobuf__any__free_unpacked(info.options, NULL);
	return r < 0 ? err_set(err, r, "print the information") : 0;
}
