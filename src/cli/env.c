/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How it works: everything is looked up, nothing has to exist: what is missing is shown as an empty
 * string, so that `env` is of use when something is wrong. Section and key names are Kata's, whose
 * tests and support scripts read them.
 */
#include "cli/env.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/spawn.h"
#include "base/version.h"
#include "cli/cli.h"
#include "config/keys.h"

#define FILE_MAX   (1U << 20)
#define FIRST_LINE 200

static void set(json_t *table, const char *key, const char *value)
{
	/* nocheck: paths of the host need not be UTF-8. */
	json_t *string = json_string(value ? value : "");

	json_object_set_new(table, key, string ? string : json_string("(not UTF-8)"));
}

static void set_bool(json_t *table, const char *key, bool value)
{
	json_object_set_new(table, key, json_boolean(value));
}

static void set_number(json_t *table, const char *key, uint64_t value)
{
	json_object_set_new(table, key, json_integer((json_int_t)value));
}

static json_t *add_section(json_t *table, const char *key)
{
	json_t *section = json_object();

	json_object_set_new(table, key, section);
	return section;
}

char *first_line_of(const char *program, const char *argument)
{
	char *const argv[] = {(char *)program, (char *)argument, NULL};
	char text[FIRST_LINE + 1];
	int fds[2];
	ssize_t n;
	pid_t pid;

	if (access(program, X_OK) < 0 || pipe2(fds, O_CLOEXEC) < 0)
		return NULL;
	pid = spawn_start(&(struct spawn){
		.path = program,
		.argv = argv,
		.in = -1,
		.out = fds[1],
		.err = -1,
		.die_with_parent = true,
	});
	close(fds[1]);
	n = pid < 0 ? -1 : read(fds[0], text, FIRST_LINE);
	close(fds[0]);
	if (pid > 0)
		spawn_wait(pid);
	if (n <= 0)
		return NULL;
	text[n] = '\0';
	text[strcspn(text, "\r\n")] = '\0';
	return xstrdup(text);
}

/* The value of `key` in a file of "key<blanks>: value" or key="value" lines; the caller frees. */
static char *value_in_file(const char *path, const char *key, char separator)
{
	_cleanup_(freep) char *text = NULL;
	size_t n = strlen(key);

	if (fs_read(path, FILE_MAX, &text, NULL) < 0)
		return NULL;
	for (char *line = text; line && *line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, key, n) != 0)
			continue;
		line += n + strspn(line + n, " \t");
		if (*line != separator)
			continue;
		line += 1 + strspn(line + 1, " \t\"");
		return xstrndup(line, strcspn(line, "\"\n"));
	}
	return NULL;
}

static void set_from_file(json_t *table, const char *name, const char *path, const char *key,
			  char separator)
{
	_cleanup_(freep) char *value = value_in_file(path, key, separator);

	set(table, name, value);
}

static void add_runtime(json_t *tree, const struct config *config)
{
	json_t *runtime = add_section(tree, "Runtime"), *section;
	char path[4096];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

	path[n > 0 ? n : 0] = '\0';
	set(runtime, "Path", path);
	set(runtime, "GuestSELinuxLabel", "");
	set_bool(runtime, "Debug", config->runtime.enable_debug);
	set_bool(runtime, "Trace", false);
	set_bool(runtime, "DisableGuestSeccomp", config->runtime.disable_guest_seccomp);
	set_bool(runtime, "DisableNewNetNs", false);
	set_bool(runtime, "SandboxCgroupOnly", true);
	section = add_section(runtime, "Config");
	set(section, "Path", config->file);
	json_object_set_new(section, "DropIns", json_array());
	for (size_t i = 0; i < config->dropins.n; i++)
		json_array_append_new(json_object_get(section, "DropIns"),
				      json_string(config->dropins.v[i]));
	section = add_section(runtime, "Version");
	set(section, "OCI", VERSION_OCI_SPEC);
	section = add_section(section, "Version");
	set(section, "Semver", version_text());
	set(section, "Commit", version_commit());
}

static void add_hypervisor(json_t *tree, const struct config *config)
{
	const struct config_hypervisor *h = &config->hypervisor;
	_cleanup_(freep) char *version = first_line_of(h->path, "--version");
	json_t *section = add_section(tree, "Hypervisor");

	set(section, "MachineType", h->machine_type);
	set(section, "Version", version);
	set(section, "Path", h->path);
	set(section, "Accelerator", h->accelerator);
	set_bool(section, "AllowEmulation", h->allow_emulation);
	set(section, "BlockDeviceDriver", h->block_device_driver);
	set(section, "EntropySource", h->entropy_source);
	set(section, "SharedFS", h->shared_fs);
	set(section, "VirtioFSDaemon", h->virtio_fs_daemon);
	set_number(section, "MemorySlots", h->memory_slots);
	set_number(section, "DefaultMemoryMiB", h->default_memory);
	json_object_set_new(section, "DefaultVCPUs", json_real(h->default_vcpus));
	set_number(section, "PCIeRootPort", h->pcie_root_port);
	set_bool(section, "Debug", h->enable_debug);
}

static void add_file(json_t *tree, const char *name, const char *path)
{
	json_t *section = add_section(tree, name);

	set(section, "Path", path);
	set_bool(section, "Exists", fs_exists(path));
}

static void add_guest(json_t *tree, const struct config *config)
{
	const struct config_hypervisor *h = &config->hypervisor;
	json_t *section = add_section(tree, "Kernel");

	set(section, "Path", h->kernel);
	set_bool(section, "Exists", fs_exists(h->kernel));
	set(section, "Parameters", h->kernel_params);
	/* An image may have an initrd of its own. */
	if (*h->image)
		add_file(tree, "Image", h->image);
	if (*h->initrd || !*h->image)
		add_file(tree, "Initrd", h->initrd);
	section = add_section(tree, "Agent");
	set_bool(section, "Debug", config->agent.enable_debug);
	set_bool(section, "DebugConsole", config->agent.debug_console_enabled);
	set_number(section, "DialTimeout", config->agent.dial_timeout);
}

static void add_host(json_t *tree)
{
	json_t *host = add_section(tree, "Host"), *section;
	struct utsname names;

	if (uname(&names) == 0) {
		set(host, "Kernel", names.release);
		set(host, "Architecture", names.machine);
	}
	set_bool(host, "SupportVSocks", fs_exists("/dev/vhost-vsock"));
	set_bool(host, "SupportVhostNet", fs_exists("/dev/vhost-net"));
	set_bool(host, "KVMDevice", fs_exists("/dev/kvm"));
	set_bool(host, "CgroupV2", fs_exists("/sys/fs/cgroup/cgroup.controllers"));
	section = add_section(host, "Distro");
	set_from_file(section, "Name", "/etc/os-release", "NAME", '=');
	set_from_file(section, "Version", "/etc/os-release", "VERSION_ID", '=');
	section = add_section(host, "CPU");
	set_from_file(section, "Vendor", "/proc/cpuinfo", "vendor_id", ':');
	set_from_file(section, "Model", "/proc/cpuinfo", "model name", ':');
	set_number(section, "CPUs", (uint64_t)sysconf(_SC_NPROCESSORS_ONLN));
	section = add_section(host, "Memory");
	set_from_file(section, "Total", "/proc/meminfo", "MemTotal", ':');
	set_from_file(section, "Available", "/proc/meminfo", "MemAvailable", ':');
}

/* A value in the form of key_format, as JSON: numbers, booleans, strings and arrays of them are
 * written alike in both. */
static json_t *value_of(const struct config *config, const struct key *key)
{
	_cleanup_(freep) char *text = key_format(config, key);
	json_t *value = json_loads(text, JSON_DECODE_ANY, NULL);

	return value ? value : json_string("(not UTF-8)");
}

static void add_configuration(json_t *tree, const struct config *config)
{
	json_t *section = add_section(tree, "Configuration");

	for (const struct key *key = key_next(NULL); key; key = key_next(key)) {
		_cleanup_(strv_fini) struct strv parts = {0};
		json_t *table = section;

		if (key->status != KEY_SERVED)
			continue;
		strv_split(&parts, key->section, ".");
		for (size_t i = 0; i < parts.n; i++) {
			json_t *next = json_object_get(table, parts.v[i]);

			table = next ? next : add_section(table, parts.v[i]);
		}
		json_object_set_new(table, key->name, value_of(config, key));
	}
}

json_t *env_host(const struct config *config)
{
	json_t *tree = json_object();

	set(add_section(tree, "Meta"), "Version", "1.0.27");
	add_runtime(tree, config);
	add_hypervisor(tree, config);
	add_guest(tree, config);
	add_host(tree);
	add_configuration(tree, config);
	return tree;
}
