/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/options.h"

#include <errno.h>
#include <stddef.h>

#include "base/parse.h"
#include "base/path.h"
#include "base/str.h"

const char options_help[] =
	"Usage: " SHIM_NAME " [OPTION]... start|delete|template|spare\n"
	"\n"
	"Runs the containers of one pod in a virtual machine of their own. containerd and CRI-O "
	"start\n"
	"it; a person has little reason to.\n"
	"\n"
	"  -namespace NAME         containerd's namespace of the container\n"
	"  -address SOCKET         containerd's own socket\n"
	"  -publish-binary FILE    program that takes events when TTRPC_ADDRESS is not set\n"
	"  -id ID                  the container\n"
	"  -bundle DIR             its bundle (default: the current directory)\n"
	"  -socket FILE            listen here instead of below /run/containerd/s\n"
	"  -config FILE            template, spare: the configuration\n"
	"  -debug                  log more\n"
	"  -info                   print what this runtime is (protobuf) and exit\n"
	"  -v, -version            print the version and exit\n"
	"  -h, -help               print this and exit\n"
	"\n"
	"start prints the address of the pod's shim, and starts it if need be.\n"
	"delete removes what a dead shim has left and prints the task's end (protobuf).\n"
	"template makes the saved virtual machine called ID; a shim whose sandbox found none runs\n"
	"it in the background. kata-runtime factory is the same for people.\n"
	"spare makes a virtual machine ready that the next start finds; a shim runs it in the\n"
	"background where the configuration has spares.\n"
	"\n"
	"Options may have one dash or two. The configuration is in configuration.toml(5).\n";

enum kind { KIND_STRING, KIND_BOOL };

static const struct option {
	const char *name;
	enum kind kind;
	size_t offset;
} known[] = {
	{"namespace", KIND_STRING, offsetof(struct options, namespace)},
	{"address", KIND_STRING, offsetof(struct options, address)},
	{"publish-binary", KIND_STRING, offsetof(struct options, publish_binary)},
	{"id", KIND_STRING, offsetof(struct options, id)},
	{"bundle", KIND_STRING, offsetof(struct options, bundle)},
	{"socket", KIND_STRING, offsetof(struct options, socket)},
	{"config", KIND_STRING, offsetof(struct options, config)},
	{"debug", KIND_BOOL, offsetof(struct options, debug)},
	{"info", KIND_BOOL, offsetof(struct options, info)},
	{"v", KIND_BOOL, offsetof(struct options, version)},
	{"version", KIND_BOOL, offsetof(struct options, version)},
	{"h", KIND_BOOL, offsetof(struct options, help)},
	{"help", KIND_BOOL, offsetof(struct options, help)},
};

/* The option that `arg` names, without its dashes; *ret_value points behind "=", or is NULL. */
static const struct option *option_find(const char *arg, const char **ret_value)
{
	const char *end = strchrnul(arg, '=');

	*ret_value = *end ? end + 1 : NULL;
	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (strlen(known[i].name) == (size_t)(end - arg) &&
		    memcmp(known[i].name, arg, end - arg) == 0)
			return &known[i];
	return NULL;
}

static int option_store(struct options *o, const struct option *option, const char *value,
			struct err *err)
{
	void *field = (char *)o + option->offset;

	if (option->kind == KIND_STRING) {
		*(const char **)field = value;
		return 0;
	}
	if (!value) {
		*(bool *)field = true;
		return 0;
	}
	if (parse_bool(value, field) < 0)
		return err_setx(err, -EINVAL, "-%s is true or false, not \"%s\"", option->name,
				value);
	return 0;
}

static int action_parse(const char *name, enum action *ret, struct err *err)
{
	if (streq(name, "start"))
		*ret = ACTION_START;
	else if (streq(name, "delete"))
		*ret = ACTION_DELETE;
	else if (streq(name, "template"))
		*ret = ACTION_TEMPLATE;
	else if (streq(name, "spare"))
		*ret = ACTION_SPARE;
	else
		return err_setx(err, -EINVAL,
				"there is no action \"%s\": start, delete, template or spare",
				name);
	return 0;
}

/* What is asked for without an action needs nothing else; an action needs to know of what. */
static int options_check(const struct options *o, struct err *err)
{
	if (o->version || o->info || o->help)
		return 0;
	if (o->action == ACTION_NONE)
		return err_setx(err, -EINVAL, "no action given: start or delete");
	if (str_empty(o->namespace) && (o->action == ACTION_START || o->action == ACTION_DELETE))
		return err_setx(err, -EINVAL, "no -namespace given");
	if (str_empty(o->id))
		return err_setx(err, -EINVAL, "no -id given");
	if (!path_is_id(o->id) || (!str_empty(o->namespace) && !path_is_id(o->namespace)))
		return err_setx(err, -EINVAL,
				"-id and -namespace take letters, digits, \"_\", \".\" and \"-\"");
	return 0;
}

int options_parse(int argc, char *const argv[], struct options *ret, struct err *err)
{
	struct options o = {"", "", "", "", "", "", "", .action = ACTION_NONE};
	bool options_ended = false;
	int r = 0;

	for (int i = 1; i < argc && r >= 0; i++) {
		const struct option *option;
		const char *arg = argv[i], *value;

		if (!options_ended && streq(arg, "--")) {
			options_ended = true;
			continue;
		}
		if (options_ended || arg[0] != '-' || !arg[1]) {
			if (o.action != ACTION_NONE)
				return err_setx(err, -EINVAL, "one action only: \"%s\"", arg);
			r = action_parse(arg, &o.action, err);
			continue;
		}
		option = option_find(arg + (arg[1] == '-' ? 2 : 1), &value);
		if (!option)
			return err_setx(err, -EINVAL, "unknown option %s, see --help", arg);
		if (option->kind == KIND_STRING && !value) {
			if (i + 1 >= argc)
				return err_setx(err, -EINVAL, "%s needs a value", arg);
			value = argv[++i];
		}
		r = option_store(&o, option, value, err);
	}
	if (r < 0)
		return r;
	r = options_check(&o, err);
	if (r < 0)
		return r;
	*ret = o;
	return 0;
}
