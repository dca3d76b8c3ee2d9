/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/oci_features.h"

#include "base/kv.h"
#include "base/version.h"
#include "kernel/caps.h"
#include "kernel/idmap.h"
#include "kernel/mount.h"

static void add_names(struct buf *b, const char *key, const char *(*name)(size_t i))
{
	buf_addf(b, "\"%s\":[", key);
	for (size_t i = 0; name(i); i++) {
		if (i)
			buf_addc(b, ',');
		kv_json_string(b, name(i));
	}
	buf_addc(b, ']');
}

static const char *cap_name(size_t i)
{
	return i < CAPS_NUMBER ? caps_name((int)i) : NULL;
}

/* What is in the guest's kernel and what the agent does with it. AppArmor, SELinux and Intel RDT
 * belong to the host's. Ids of mounts are mapped on the host, where its kernel can do it. */
#define REST                                                                                      \
	",\"cgroup\":{\"v1\":false,\"v2\":true,\"systemd\":true,\"systemdUser\":false,"           \
	"\"rdma\":false},"                                                                        \
	"\"seccomp\":{\"enabled\":true,"                                                          \
	"\"actions\":[\"SCMP_ACT_ALLOW\",\"SCMP_ACT_ERRNO\",\"SCMP_ACT_KILL\","                   \
	"\"SCMP_ACT_KILL_PROCESS\",\"SCMP_ACT_KILL_THREAD\",\"SCMP_ACT_LOG\",\"SCMP_ACT_TRACE\"," \
	"\"SCMP_ACT_TRAP\"],"                                                                     \
	"\"operators\":[\"SCMP_CMP_EQ\",\"SCMP_CMP_GE\",\"SCMP_CMP_GT\",\"SCMP_CMP_LE\","         \
	"\"SCMP_CMP_LT\",\"SCMP_CMP_MASKED_EQ\",\"SCMP_CMP_NE\"],"                                \
	"\"archs\":[\"SCMP_ARCH_X32\",\"SCMP_ARCH_X86\",\"SCMP_ARCH_X86_64\"]},"                  \
	"\"apparmor\":{\"enabled\":false},\"selinux\":{\"enabled\":false},"                       \
	"\"intelRdt\":{\"enabled\":false},"                                                       \
	"\"mountExtensions\":{\"idmap\":{\"enabled\":%s}}"

char *oci_features(void)
{
	struct buf b = {0};

	buf_adds(&b, "{\"ociVersionMin\":\"1.0.0\",\"ociVersionMax\":\"" VERSION_OCI_SPEC "\","
		     "\"hooks\":[\"prestart\",\"createRuntime\",\"startContainer\",\"poststart\","
		     "\"poststop\"],");
	add_names(&b, "mountOptions", mount_option_name);
	buf_adds(&b, ",\"linux\":{\"namespaces\":[\"cgroup\",\"ipc\",\"mount\",\"network\",\"pid\","
		     "\"user\",\"uts\"],");
	add_names(&b, "capabilities", cap_name);
	buf_addf(&b, REST "}}", idmap_supported() ? "true" : "false");
	return buf_take(&b);
}
