/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/kernel_fs.h"

#include <linux/magic.h>
#include <stddef.h>

#include "base/str.h"

/* Their kernel headers are not for programs. */
#define CONFIGFS_MAGIC 0x62656570
#define FUSECTL_MAGIC  0x65735543
#define MQUEUE_MAGIC   0x19800202

static const struct {
	const char *name;
	__typeof__(((struct statfs *)NULL)->f_type) magic; /* 0: another's */
} table[] = {
	{"proc", PROC_SUPER_MAGIC},
	{"sysfs", SYSFS_MAGIC},
	{"devtmpfs", 0},
	{"devpts", DEVPTS_SUPER_MAGIC},
	{"mqueue", MQUEUE_MAGIC},
	{"cgroup", CGROUP_SUPER_MAGIC},
	{"cgroup2", CGROUP2_SUPER_MAGIC},
	{"debugfs", DEBUGFS_MAGIC},
	{"tracefs", TRACEFS_MAGIC},
	{"securityfs", SECURITYFS_MAGIC},
	{"selinuxfs", SELINUX_MAGIC},
	{"smackfs", SMACK_MAGIC},
	{"configfs", CONFIGFS_MAGIC},
	{"fusectl", FUSECTL_MAGIC},
	{"bpf", BPF_FS_MAGIC},
	{"pstore", PSTOREFS_MAGIC},
	{"efivarfs", EFIVARFS_MAGIC},
	{"binfmt_misc", BINFMTFS_MAGIC},
	{"binder", BINDERFS_SUPER_MAGIC},
	{"resctrl", RDTGROUP_SUPER_MAGIC},
};

bool kernel_fs_is(const char *fstype)
{
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (streq(fstype, table[i].name))
			return true;
	return false;
}

const char *kernel_fs_name(const struct statfs *fs)
{
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (table[i].magic && fs->f_type == table[i].magic)
			return table[i].name;
	return NULL;
}
