/* SPDX-License-Identifier: Apache-2.0 */
#include "hypervisor/qemu/devices.h"

/* The parts of devices, in the two languages QEMU understands. */

static const struct {
	const char *option; /* on the command line */
	const char *add;    /* QMP */
	const char *remove;
	const char *name; /* of the property that identifies it in `remove` */
} kinds[] = {
	[PART_CHARDEV] = {"-chardev", "chardev-add", "chardev-remove", "id"},
	[PART_NETDEV] = {"-netdev", "netdev_add", "netdev_del", "id"},
	[PART_BLOCKDEV] = {"-blockdev", "blockdev-add", "blockdev-del", "node-name"},
	[PART_OBJECT] = {"-object", "object-add", "object-del", "id"},
	[PART_DEVICE] = {"-device", "device_add", "device_del", "id"},
};

const char *part_id(const struct part *part)
{
	return props_get(&part->props, kinds[part->kind].name);
}

void part_to_args(const struct part *part, struct strv *args)
{
	strv_add(args, kinds[part->kind].option);
	strv_take(args, props_to_arg(&part->props));
}

const char *part_to_command(const struct part *part, json_t **ret_arguments)
{
	/* Only connected sockets are passed as character devices; QMP nests what the command line
	 * has flat. */
	if (part->kind == PART_CHARDEV)
		*ret_arguments = json_pack("{s:s, s:{s:s, s:{s:{s:s, s:{s:s}}, s:b}}}", "id",
					   part_id(part), "backend", "type", "socket", "data",
					   "addr", "type", "fd", "data", "str",
					   props_get(&part->props, "fd"), "server", 0);
	else
		*ret_arguments = props_to_json(&part->props);
	return kinds[part->kind].add;
}

const char *part_to_removal(const struct part *part, json_t **ret_arguments)
{
	*ret_arguments = json_pack("{s:s}", kinds[part->kind].name, part_id(part));
	return kinds[part->kind].remove;
}

void part_fini(struct part *part)
{
	props_fini(&part->props);
}
