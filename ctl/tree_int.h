/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of the tree: what a row is of. */
#ifndef MSB_CTL_TREE_INT_H
#define MSB_CTL_TREE_INT_H

#include "ctl/kept.h"
#include "ctl/tree.h"

#define N_SHORT (&ctl_nodes[D_COUNT])

static inline unsigned int ctl_row_of(const struct ctl_at *at)
{
	return (unsigned int)(at->node - ctl_nodes);
}

/* Below scripts/ or patches/. */
static inline bool ctl_of_kept(const struct ctl_node *n)
{
	return n->dir == D_SCRIPTS || n->dir == D_PATCHES;
}

static inline const struct ctl_kept *ctl_kept_of(const struct ctl_at *at)
{
	return ctl_kept_by_serial(at->sb, at->aux);
}

static inline bool ctl_of_job(const struct ctl_node *n)
{
	return n == &ctl_nodes[D_JOB] || n->dir == D_JOB || n->dir == D_JOB_ENV;
}

#endif
