/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/spec_check.h"

#include <errno.h>

#include "agent/init/init.h"
#include "base/log.h"
#include "base/path.h"
#include "base/str.h"
#include "kernel/caps.h"
#include "kernel/rlimit.h"
#include "kernel/seccomp.h"

const char *spec_annotation(const Grpc__Spec *spec, const char *key)
{
	for (size_t i = 0; i < spec->n_annotations; i++)
		if (streq(spec->annotations[i]->key, key))
			return spec->annotations[i]->value;
	return NULL;
}

int spec_check_process(const Grpc__Process *p, struct err *err)
{
	if (!p)
		return err_setx(err, -EINVAL, "there is no process");
	if (!p->n_args || str_empty(p->args[0]))
		return err_setx(err, -EINVAL, "process.args is empty");
	if (p->n_env > SPEC_LIST_MAX || p->n_rlimits > SPEC_LIST_MAX ||
	    (p->user && p->user->n_additionalgids > SPEC_LIST_MAX))
		return err_setx(err, -E2BIG, "a list of the process has more than %u entries",
				SPEC_LIST_MAX);
	if (p->oomscoreadj < -1000 || p->oomscoreadj > 1000)
		return err_setx(err, -EINVAL, "oomScoreAdj %lld is not in -1000..1000",
				(long long)p->oomscoreadj);
	for (size_t i = 0; i < p->n_rlimits; i++)
		if (rlimit_parse(p->rlimits[i]->type) < 0)
			return err_setx(err, -EINVAL, "rlimit \"%s\" is not known",
					p->rlimits[i]->type);
	if (p->execcpuaffinity &&
	    (!str_empty(p->execcpuaffinity->initial) || !str_empty(p->execcpuaffinity->final)))
		return err_setx(err, -ENOSYS, "process.execCPUAffinity is not supported");
	if (!str_empty(p->apparmorprofile))
		log_info("AppArmor profile \"%s\" is not enforced in the guest",
			 p->apparmorprofile);
	if (!str_empty(p->selinuxlabel))
		log_info("SELinux label \"%s\" is not enforced in the guest", p->selinuxlabel);
	return 0;
}

static int check_seccomp(const Grpc__LinuxSeccomp *s, struct err *err)
{
	unsigned int flags = 0;

	if (!str_empty(s->listenerpath))
		return err_setx(err, -ENOSYS, "linux.seccomp.listenerPath is not supported");
	if (!s->bpf.len) {
		if (!s->n_syscalls &&
		    (str_empty(s->defaultaction) || streq(s->defaultaction, "SCMP_ACT_ALLOW")))
			return 0;
		return err_setx(err, -ENOSYS,
				"seccomp: the profile has no compiled filter, and the agent cannot "
				"compile one (feature kata-c.seccomp-bpf)");
	}
	if (seccomp_check(s->bpf.len) < 0)
		return err_setx(err, -EINVAL, "seccomp: a filter of %zu bytes is not valid",
				s->bpf.len);
	for (size_t i = 0; i < s->n_flags; i++) {
		int r = seccomp_parse_flag(s->flags[i], &flags);

		if (r < 0)
			return err_setx(err, r == -EINVAL ? r : -ENOSYS,
					"seccomp: flag \"%s\" is not supported", s->flags[i]);
	}
	return 0;
}

static int check_linux(const Grpc__Linux *l, struct err *err)
{
	const Grpc__LinuxIntelRdt *rdt = l->intelrdt;

	if (l->n_timeoffsets)
		return err_setx(err, -ENOSYS, "linux.timeOffsets is not supported");
	if (l->n_netdevices)
		return err_setx(err, -ENOSYS, "linux.netDevices is not supported");
	if (l->memorypolicy && !str_empty(l->memorypolicy->mode))
		return err_setx(err, -ENOSYS, "linux.memoryPolicy is not supported");
	if (rdt && (!str_empty(rdt->l3cacheschema) || !str_empty(rdt->closid) ||
		    !str_empty(rdt->membwschema) || rdt->n_schemata))
		return err_setx(err, -ENOSYS, "linux.intelRdt is not supported in a guest");
	if (l->personality && !str_empty(l->personality->domain) &&
	    !streq(l->personality->domain, "LINUX") && !streq(l->personality->domain, "LINUX32"))
		return err_setx(err, -EINVAL, "personality \"%s\" is not known",
				l->personality->domain);
	if (l->personality && l->personality->n_flags)
		return err_setx(err, -ENOSYS, "linux.personality.flags is not supported");
	if (!str_empty(l->mountlabel))
		log_info("SELinux mount label \"%s\" is not enforced in the guest", l->mountlabel);
	if (l->n_devices > SPEC_LIST_MAX || l->n_maskedpaths > SPEC_LIST_MAX ||
	    l->n_readonlypaths > SPEC_LIST_MAX || l->n_sysctl > SPEC_LIST_MAX)
		return err_setx(err, -E2BIG, "a list of linux has more than %u entries",
				SPEC_LIST_MAX);
	for (size_t i = 0; i < l->n_sysctl; i++) {
		int r = sysctl_check(l->sysctl[i]->key, err);

		if (r < 0)
			return r;
	}
	return l->seccomp ? check_seccomp(l->seccomp, err) : 0;
}

int spec_check(const Grpc__Spec *spec, struct err *err)
{
	if (!spec)
		return err_setx(err, -EINVAL, "there is no OCI specification");
	if (!spec->root || !path_is_clean(spec->root->path) || !spec->root->path[1])
		return err_setx(err, -EINVAL, "root.path \"%s\" is not an absolute path",
				spec->root ? spec->root->path : "");
	if (spec->n_mounts > SPEC_LIST_MAX)
		return err_setx(err, -E2BIG, "more than %u mounts", SPEC_LIST_MAX);
	if (spec->linux) {
		int r = check_linux(spec->linux, err);

		if (r < 0)
			return r;
	}
	return spec_check_process(spec->process, err);
}
