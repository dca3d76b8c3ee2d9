/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Intrusive doubly linked list: the link is embedded in its owner, nothing is allocated. */

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"

struct list {
	struct list *next, *prev;
};

#define LIST_INIT(name)          \
	{                        \
		&(name), &(name) \
	}

static inline void list_init(struct list *l)
{
	l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}

static inline void list_add_tail(struct list *head, struct list *l)
{
	l->prev = head->prev;
	l->next = head;
	head->prev->next = l;
	head->prev = l;
}

/* list_remove: unlink; the link is left self-linked, so that a second removal is harmless. */
static inline void list_remove(struct list *l)
{
	l->prev->next = l->next;
	l->next->prev = l->prev;
	list_init(l);
}

/* list_pop: unlink the first one and return it; NULL when there is none. */
static inline struct list *list_pop(struct list *head)
{
	struct list *l = head->next;

	if (l == head)
		return NULL;
	head->next = l->next;
	l->next->prev = head;
	list_init(l);
	return l;
}

#define list_entry(l, type, member)    container_of(l, type, member)
#define list_first(head, type, member) list_entry((head)->next, type, member)

/* Iterate; the body may not remove entries. */
#define list_for_each(it, head, member)                                                     \
	for (it = list_entry((head)->next, __typeof__(*it), member); &it->member != (head); \
	     it = list_entry(it->member.next, __typeof__(*it), member))

/* Iterate; the body may remove `it` (and nothing else). */
#define list_for_each_safe(it, tmp, head, member)                       \
	for (it = list_entry((head)->next, __typeof__(*it), member),    \
	    tmp = list_entry(it->member.next, __typeof__(*it), member); \
	     &it->member != (head);                                     \
	     it = tmp, tmp = list_entry(it->member.next, __typeof__(*it), member))
