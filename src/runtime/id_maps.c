/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/id_maps.h"

#include <errno.h>

#include "runtime/spec_guest.h"

static struct ns_mapping *convert(Grpc__LinuxIDMapping *const *list, size_t n)
{
	struct ns_mapping *maps = xcalloc(n, sizeof(*maps));

	for (size_t i = 0; i < n; i++)
		maps[i] = (struct ns_mapping){list[i]->containerid, list[i]->hostid, list[i]->size};
	return maps;
}

/* Removes the option; returns whether it was there. */
static bool take_option(Grpc__Mount *m, const char *option)
{
	size_t n = 0;

	for (size_t i = 0; i < m->n_options; i++)
		if (!streq(m->options[i], option))
			m->options[n++] = m->options[i];
		else
			spec_set(&m->options[i], NULL);
	if (n == m->n_options)
		return false;
	m->n_options = n;
	return true;
}

/* As with runc: those of the mount, else those of the container's user namespace. */
int id_maps_of_mount(const Grpc__Spec *spec, Grpc__Mount *m, struct host_mount *ret,
		     struct err *err)
{
	bool recursive = take_option(m, "ridmap"), asked = take_option(m, "idmap") || recursive;
	bool own = m->n_uidmappings || m->n_gidmappings;
	const Grpc__Linux *l = spec->linux;
	struct ns_maps maps = {0};

	if (own && !(m->n_uidmappings && m->n_gidmappings))
		return err_setx(err, -EINVAL, "mount %s: needs both uidMappings and gidMappings",
				m->destination);
	if (!own && asked && !(l && l->n_uidmappings && l->n_gidmappings))
		return err_setx(err, -EINVAL,
				"mount %s: \"idmap\" needs mappings, its own or those of a user "
				"namespace",
				m->destination);
	if (own || asked)
		maps = (struct ns_maps){
			.uids = own ? convert(m->uidmappings, m->n_uidmappings)
				    : convert(l->uidmappings, l->n_uidmappings),
			.gids = own ? convert(m->gidmappings, m->n_gidmappings)
				    : convert(l->gidmappings, l->n_gidmappings),
			.n_uids = own ? m->n_uidmappings : l->n_uidmappings,
			.n_gids = own ? m->n_gidmappings : l->n_gidmappings,
		};
	while (m->n_uidmappings)
		SPEC_REMOVE(m, uidmappings, 0);
	while (m->n_gidmappings)
		SPEC_REMOVE(m, gidmappings, 0);
	ret->idmap = maps;
	ret->recursive_idmap = recursive;
	return 0;
}

bool id_maps_of_option(const char *option, const char **uids, const char **gids)
{
	const char *u = str_skip_prefix(option, "uidmap="), *g = str_skip_prefix(option, "gidmap=");

	if (u)
		*uids = u;
	if (g)
		*gids = g;
	return u || g;
}

int id_maps_of_rootfs(const char *uids, const char *gids, struct ns_maps *ret, struct err *err)
{
	int r;

	*ret = (struct ns_maps){0};
	if (!uids && !gids)
		return 0;
	if (!uids || !gids)
		return err_setx(err, -EINVAL, "root file system: needs both uidmap= and gidmap=");
	r = ns_maps_parse(uids, gids, ret);
	return r < 0 ? err_set(err, r, "root file system: uidmap=%.256s, gidmap=%.256s", uids, gids)
		     : 0;
}
