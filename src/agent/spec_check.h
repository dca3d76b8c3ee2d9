/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What of a specification the agent does not do. A field that would make the container weaker than
 * it says when left out is refused here, before anything is made, with its name; one that is only
 * advice (AppArmor and SELinux labels, which the guest's kernel does not enforce) is logged.
 */

#include "base/err.h"
#include "oci.pb-c.h"

#define SPEC_LIST_MAX 8192U /* entries of any list */

/* spec_check: the specification of a new container. */
int spec_check(const Grpc__Spec *spec, struct err *err);
/* spec_check_process: a process, of a new or a running container. */
int spec_check_process(const Grpc__Process *process, struct err *err);
/* spec_annotation: the value, or NULL. */
const char *spec_annotation(const Grpc__Spec *spec, const char *key);
