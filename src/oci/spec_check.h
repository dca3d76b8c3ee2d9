/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "oci/spec_json.h"

/*
 * oci_spec_check: what must hold before anything is done with a specification: the parts that a
 * container needs are there, paths are absolute (and are made clean: "/a/./b/" becomes "/a/b"; one
 * that leads above "/" is an error), namespaces and limits are known ones and given once, numbers
 * are in range. Returns 0, or -EINVAL with the place.
 */
int oci_spec_check(struct oci_spec *spec, struct err *err);
/* oci_process_check: the same of a process alone. `place` names it in errors, such as "process". */
int oci_process_check(struct oci_spec *owner, Grpc__Process *process, const char *place,
		      struct err *err);
/* oci_resources_check: the same of the resources of an update. */
int oci_resources_check(const Grpc__LinuxResources *resources, struct err *err);
