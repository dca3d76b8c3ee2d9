/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keys that Kata knows and that are not served. Files that only say that such a thing is off
 * are accepted, so that Kata's own files load unchanged; anything else is refused with the reason,
 * because a setting that is ignored is worse than one that is refused.
 */
#include "config/keys_table.h"

#define REFUSED(section_, name_, type_, off_, why_, ...)                                  \
	{                                                                                 \
		.section = section_, .name = name_, .type = type_, .status = KEY_REFUSED, \
		.fallback = off_, .why = why_, ##__VA_ARGS__                              \
	}
#define INERT(section_, name_, type_, fallback_, why_, ...)                             \
	{                                                                               \
		.section = section_, .name = name_, .type = type_, .status = KEY_INERT, \
		.fallback = fallback_, .why = why_, ##__VA_ARGS__                       \
	}
#define HV(name_, type_, off_, why_, ...)                 \
	REFUSED(KEY_HYPERVISOR, name_, type_, off_, why_, \
		.annotation = "config.hypervisor." name_, ##__VA_ARGS__)
#define HV_INERT(name_, type_, fallback_, why_)              \
	INERT(KEY_HYPERVISOR, name_, type_, fallback_, why_, \
	      .annotation = "config.hypervisor." name_)

#define CONFIDENTIAL "confidential guests are not served"
#define GPU          "passing devices through (VFIO) is not served yet"
#define NUMA         "guest NUMA is not served yet"
#define RATE         "rate limits are not served yet"
#define VHOST_USER   "vhost-user block devices are not served"
#define TEMPLATE     "write it into [factory] instead"
#define TRACING      "tracing is not served yet"
#define MEM_AGENT    "the memory agent is not served"
#define ONE_VMM      "only QEMU with the Kata agent is served"

/* clang-format off */
const struct key keys_refused[] = {
	HV("firmware_volume", KEY_PATH, "\"\"", "a separate firmware volume is not served"),
	HV("pflashes", KEY_LIST, "[]", "flash images are not served"),
	HV("vm_rootfs_driver", KEY_STRING, "\"virtio-pmem\"", "the driver of the image is chosen by "
	   "disable_image_nvdimm", .off = "[\"\", \"virtio-blk-pci\"]"),
	HV("memory_offset", KEY_UINT64, "0", "a memory offset is not served"),
	HV("enable_virtio_mem", KEY_BOOL, "false", "virtio-mem is not served yet"),
	HV("reclaim_guest_freed_memory", KEY_BOOL, "false", "reclaiming guest memory is not served yet"),
	HV("enable_numa", KEY_BOOL, "false", NUMA),
	HV("numa_mapping", KEY_LIST, "[]", NUMA),
	HV("guest_memory_dump_path", KEY_PATH, "\"\"", "dumping the guest's memory is not served yet"),
	HV_INERT("guest_memory_dump_paging", KEY_BOOL, "false", "guest_memory_dump_path"),
	HV("enable_guest_swap", KEY_BOOL, "false", "swap in the guest is not served yet"),
	HV("enable_swap", KEY_BOOL, "false", "swapping of the guest's memory is not served"),
	HV("overhead_vcpus", KEY_NUMBER, "0", "an overhead is not added to the sandbox's size",
	   .off = "[0.2]"),
	HV("overhead_memory", KEY_NUMBER, "0", "an overhead is not added to the sandbox's size",
	   .off = "[32]"),
	HV("rootless", KEY_BOOL, "false", "a user for each QEMU is not served yet (the key user says "
	   "who QEMU runs as, never root unless asked for)"),
	HV("enable_iommu", KEY_BOOL, "false", "a virtual IOMMU is not served yet"),
	HV("enable_iommu_platform", KEY_BOOL, "false", "a virtual IOMMU is not served yet"),
	HV("extra_monitor_socket", KEY_STRING, "\"\"", "further monitor sockets are not served",
	   .off = "[false]"),
	HV_INERT("disable_nesting_checks", KEY_BOOL, "false", "checks that are not made"),
	HV("use_legacy_serial", KEY_BOOL, "false", "a legacy serial console is not served"),
	HV_INERT("disable_selinux", KEY_BOOL, "false", "SELinux labels, which are not applied to QEMU"),
	HV("disable_guest_selinux", KEY_BOOL, "true", "SELinux in the guest is not served"),
	HV("disable_seccomp", KEY_BOOL, "false", "write seccompsandbox = \"off\" instead"),
	HV("seccomp_sandbox", KEY_STRING, "\"\"", "the key is called seccompsandbox"),
	HV("confidential_guest", KEY_BOOL, "false", CONFIDENTIAL),
	HV("sev_snp_guest", KEY_BOOL, "false", CONFIDENTIAL),
	HV("snp_guest_policy", KEY_UINT64, "0", CONFIDENTIAL, .off = "[196608]"),
	HV("snp_id_auth", KEY_STRING, "\"\"", CONFIDENTIAL),
	HV("snp_id_block", KEY_STRING, "\"\"", CONFIDENTIAL),
	HV("tdx_quote_generation_service_socket_port", KEY_UINT, "0", CONFIDENTIAL, .off = "[4050]"),
	HV("measurement_algo", KEY_STRING, "\"\"", CONFIDENTIAL),
	HV("cc_init_data", KEY_STRING, "\"\"", CONFIDENTIAL),
	HV("kernel_verity_params", KEY_STRING, "\"\"", "dm-verity of the image is not served yet"),
	HV("verity_params", KEY_STRING, "\"\"", "dm-verity of the image is not served yet"),
	HV("guest_extension_images", KEY_LIST, "[]", "further guest images are not served"),
	HV("experimental_force_guest_pull", KEY_BOOL, "false", "pulling images in the guest is not "
	   "served"),
	HV("virtio_fs_inode_file_handles", KEY_STRING, "\"prefer\"", "file handles of virtiofsd are "
	   "its own choice", .off = "[\"\"]"),
	HV_INERT("msize_9p", KEY_UINT, "8192", "9p, which is not served"),
	HV("enable_iothreads", KEY_BOOL, "false", "I/O threads are not served yet"),
	HV("indep_iothreads", KEY_UINT, "0", "I/O threads are not served yet"),
	HV("enable_vhost_user_store", KEY_BOOL, "false", VHOST_USER),
	HV_INERT("vhost_user_store_path", KEY_PATH, "\"\"", "enable_vhost_user_store"),
	HV_INERT("valid_vhost_user_store_paths", KEY_LIST, "[]", "enable_vhost_user_store"),
	HV_INERT("vhost_user_reconnect_timeout_sec", KEY_UINT, "0", "enable_vhost_user_store"),
	HV("file_mem_backend", KEY_PATH, "\"\"", "guest memory in files is not served"),
	HV_INERT("valid_file_mem_backends", KEY_LIST, "[]", "file_mem_backend"),
	HV_INERT("queue_size", KEY_UINT, "128", "queues of block devices, which QEMU sizes"),
	HV_INERT("num_queues", KEY_UINT, "1", "queues of block devices, which QEMU sizes"),
	HV("network_queues", KEY_UINT, "1", "several network queues are not served yet", .off = "[0]"),
	HV("hot_plug_vfio", KEY_STRING, "\"no-port\"", GPU, .off = "[\"\"]"),
	HV("cold_plug_vfio", KEY_STRING, "\"no-port\"", GPU, .off = "[\"\"]"),
	HV("pcie_switch_port", KEY_UINT, "0", GPU),
	HV("visible_cdi_devices", KEY_LIST, "[]", GPU),
	HV("default_gpus", KEY_UINT, "0", GPU),
	HV("default_gpu_model", KEY_STRING, "\"\"", GPU),
	HV("rx_rate_limiter_max_rate", KEY_UINT64, "0", RATE),
	HV("tx_rate_limiter_max_rate", KEY_UINT64, "0", RATE),
	HV("disk_rate_limiter_bw_max_rate", KEY_UINT64, "0", RATE),
	HV("disk_rate_limiter_bw_one_time_burst", KEY_UINT64, "0", RATE),
	HV("disk_rate_limiter_ops_max_rate", KEY_UINT64, "0", RATE),
	HV("disk_rate_limiter_ops_one_time_burst", KEY_UINT64, "0", RATE),
	HV("net_rate_limiter_bw_max_rate", KEY_UINT64, "0", RATE),
	HV("net_rate_limiter_bw_one_time_burst", KEY_UINT64, "0", RATE),
	HV("net_rate_limiter_ops_max_rate", KEY_UINT64, "0", RATE),
	HV("net_rate_limiter_ops_one_time_burst", KEY_UINT64, "0", RATE),
	HV("jailer_path", KEY_PATH, "\"\"", "a jailer is not served: QEMU is confined by the runtime"),
	HV_INERT("valid_jailer_paths", KEY_LIST, "[]", "jailer_path"),
	HV("hypervisor_loglevel", KEY_UINT, "0", "write enable_debug instead", .off = "[1]"),
	HV("launch_process_timeout", KEY_UINT, "0", "the start of QEMU has a limit of its own",
	   .off = "[6]"),
	HV("name", KEY_STRING, "\"\"", ONE_VMM, .off = "[\"qemu\"]"),
	HV("remote_hypervisor_socket", KEY_PATH, "\"\"", ONE_VMM),
	HV_INERT("remote_hypervisor_timeout", KEY_UINT, "0", "remote_hypervisor_socket"),

	REFUSED(KEY_HYPERVISOR_FACTORY, "enable_template", KEY_BOOL, "false", TEMPLATE),
	INERT(KEY_HYPERVISOR_FACTORY, "template_path", KEY_PATH, "\"\"", "enable_template"),
	REFUSED(KEY_FACTORY, "vm_cache_number", KEY_UINT, "0", "a cache of VMs is not served"),
	INERT(KEY_FACTORY, "vm_cache_endpoint", KEY_PATH, "\"\"", "vm_cache_number"),

	REFUSED(KEY_AGENT, "enable_tracing", KEY_BOOL, "false", TRACING,
		.annotation = "config.agent.enable_tracing"),
	INERT(KEY_AGENT, "cdh_api_timeout", KEY_UINT, "50", "confidential guests, which are not served"),
	INERT(KEY_AGENT, "cdh_api_timeout_ms", KEY_UINT, "50000", "confidential guests, which are not "
	      "served", .annotation = "config.agent.cdh_api_timeout_ms"),
	REFUSED(KEY_AGENT, "dial_timeout_ms", KEY_UINT, "10", "the pause between two attempts is not "
		"configurable; dial_timeout is"),
	REFUSED(KEY_AGENT, "reconnect_timeout_ms", KEY_UINT, "3000", "write dial_timeout instead",
		.off = "[5000]"),
	REFUSED(KEY_AGENT, "create_container_timeout", KEY_UINT, "30", "write it into [runtime] instead"),
	REFUSED(KEY_AGENT, "policy", KEY_STRING, "\"\"", "agent policies are not served",
		.annotation = "config.agent.policy"),
	REFUSED(KEY_AGENT, "container_pipe_size", KEY_UINT, "0", "the size of pipes is fixed",
		.annotation = "config.agent.container_pipe_size"),
	REFUSED(KEY_MEM_AGENT, "mem_agent_enable", KEY_BOOL, "false", MEM_AGENT),
	INERT(KEY_MEM_AGENT, "memcg_disable", KEY_BOOL, "false", "mem_agent_enable"),
	INERT(KEY_MEM_AGENT, "memcg_swap", KEY_BOOL, "false", "mem_agent_enable"),
	INERT(KEY_MEM_AGENT, "memcg_swappiness_max", KEY_UINT, "50", "mem_agent_enable"),
	INERT(KEY_MEM_AGENT, "memcg_period_secs", KEY_UINT64, "600", "mem_agent_enable"),
	INERT(KEY_MEM_AGENT, "memcg_period_psi_percent_limit", KEY_UINT, "1", "mem_agent_enable"),
	INERT(KEY_MEM_AGENT, "memcg_eviction_psi_percent_limit", KEY_UINT, "1", "mem_agent_enable"),
	INERT(KEY_MEM_AGENT, "memcg_eviction_run_aging_count_min", KEY_UINT64, "3", "mem_agent_enable"),
	INERT(KEY_MEM_AGENT, "compact_disable", KEY_BOOL, "false", "mem_agent_enable"),
	INERT(KEY_MEM_AGENT, "compact_period_secs", KEY_UINT64, "600", "mem_agent_enable"),
	INERT(KEY_MEM_AGENT, "compact_period_psi_percent_limit", KEY_UINT, "1", "mem_agent_enable"),
	INERT(KEY_MEM_AGENT, "compact_psi_percent_limit", KEY_UINT, "5", "mem_agent_enable"),
	INERT(KEY_MEM_AGENT, "compact_sec_max", KEY_UINT64, "300", "mem_agent_enable"),
	INERT(KEY_MEM_AGENT, "compact_order", KEY_UINT, "9", "mem_agent_enable"),
	INERT(KEY_MEM_AGENT, "compact_threshold", KEY_UINT64, "1024", "mem_agent_enable"),
	INERT(KEY_MEM_AGENT, "compact_force_times", KEY_UINT64, "9223372036854775807",
	      "mem_agent_enable"),

	REFUSED(KEY_RUNTIME, "enable_vcpus_pinning", KEY_BOOL, "false", "pinning of CPUs is not served "
		"yet", .annotation = "enable_vcpus_pinning"),
	REFUSED(KEY_RUNTIME, "guest_selinux_label", KEY_STRING, "\"\"", "SELinux in the guest is not "
		"served", .annotation = "config.runtime.guest_selinux_label"),
	REFUSED(KEY_RUNTIME, "enable_tracing", KEY_BOOL, "false", TRACING),
	INERT(KEY_RUNTIME, "jaeger_endpoint", KEY_STRING, "\"\"", "enable_tracing"),
	INERT(KEY_RUNTIME, "jaeger_user", KEY_STRING, "\"\"", "enable_tracing"),
	INERT(KEY_RUNTIME, "jaeger_password", KEY_STRING, "\"\"", "enable_tracing"),
	REFUSED(KEY_RUNTIME, "disable_new_netns", KEY_BOOL, "false", "QEMU never runs in the host's "
		"network namespace", .annotation = "config.runtime.disable_new_netns"),
	INERT(KEY_RUNTIME, "sandbox_cgroup_only", KEY_BOOL, "true", "control groups: everything of a "
	      "sandbox is in the pod's always", .annotation = "config.runtime.sandbox_cgroup_only"),
	INERT(KEY_RUNTIME, "kubelet_root_dir", KEY_PATH, "\"/var/lib/kubelet\"", "kubelet's volumes, "
	      "which are recognised by the end of their paths"),
	REFUSED(KEY_RUNTIME, "vfio_mode", KEY_STRING, "\"guest-kernel\"", GPU, .off = "[\"\"]",
		.annotation = "config.runtime.vfio_mode"),
	INERT(KEY_RUNTIME, "disable_guest_empty_dir", KEY_BOOL, "true", "emptydir_mode"),
	REFUSED(KEY_RUNTIME, "emptydir_mode", KEY_STRING, "\"shared-fs\"", "empty volumes on block "
		"devices are not served yet", .off = "[\"\"]"),
	REFUSED(KEY_RUNTIME, "experimental", KEY_LIST, "[]", "there are no experimental features",
		.annotation = "config.runtime.experimental", .list_separator = ' '),
	REFUSED(KEY_RUNTIME, "experimental_force_guest_pull", KEY_BOOL, "false", "pulling images in the "
		"guest is not served", .annotation = "config.runtime.experimental_force_guest_pull"),
	REFUSED(KEY_RUNTIME, "enable_pprof", KEY_BOOL, "false", "Go's profiler does not exist here",
		.annotation = "config.runtime.enable_pprof"),
	INERT(KEY_RUNTIME, "dan_conf", KEY_PATH, "\"\"", "directly attachable networks, used when a file "
	      "of the sandbox's name is there"),
	REFUSED(KEY_RUNTIME, "pod_resource_api_sock", KEY_PATH, "\"\"", GPU),
	REFUSED(KEY_RUNTIME, "name", KEY_STRING, "\"\"", ONE_VMM, .off = "[\"virt_container\"]",
		.annotation = "config.runtime.name"),
	REFUSED(KEY_RUNTIME, "hypervisor_name", KEY_STRING, "\"\"", ONE_VMM, .off = "[\"qemu\"]",
		.annotation = "config.runtime.hypervisor_name"),
	REFUSED(KEY_RUNTIME, "agent_name", KEY_STRING, "\"\"", ONE_VMM, .off = "[\"kata\"]",
		.annotation = "config.runtime.agent_name"),
	REFUSED(KEY_RUNTIME, "shared_mounts", KEY_LIST, "[]", "mounts shared between containers are not "
		"served yet", .annotation = "config.runtime.shared_mounts"),
};
/* clang-format on */

const size_t n_keys_refused = ARRAY_SIZE(keys_refused);
