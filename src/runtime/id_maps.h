/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Who asks for owners of files to be mapped: a mount of config.json by its uidMappings and
 * gidMappings or by the option "idmap"; a root file system by uidmap= and gidmap= (containerd's
 * snapshotters with "remap-ids"). The host does it (kernel/idmap.h); the agent does not hear of it.
 */

#include "agent.pb-c.h"
#include "runtime/host_mount.h"

/*
 * id_maps_of_mount: what mount `m` of `spec` asks for, into ret->idmap and ret->recursive_idmap,
 * where it replaces what is there (the caller calls ns_maps_fini()), and taken out of `m`.
 */
int id_maps_of_mount(const Grpc__Spec *spec, Grpc__Mount *m, struct host_mount *ret,
		     struct err *err);
/* id_maps_of_option: remember in uids or gids that `option` is uidmap= or gidmap=; false: it is
 * neither. id_maps_of_rootfs: what both say, with neither no mapping; the caller frees. */
bool id_maps_of_option(const char *option, const char **uids, const char **gids);
int id_maps_of_rootfs(const char *uids, const char *gids, struct ns_maps *ret, struct err *err);
