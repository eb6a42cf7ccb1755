/* SPDX-License-Identifier: Apache-2.0 */
/* Every bound of the control daemon: what a user can grow, and how long it waits for what. */
#ifndef MSB_CTL_LIMITS_H
#define MSB_CTL_LIMITS_H

#include "fs/fsd.h"
#include "vmm/vmm.h"

#define CTL_MAX_SANDBOXES	4096
#define CTL_MAX_IMAGES		1024 /* names of images */
#define CTL_MAX_IMAGE_DIRS	8192 /* directories that their names make */
#define CTL_MAX_VOLUMES		256
#define CTL_MIN_VOLUME_DISK	(UINT64_C(16) << 20) /* bytes of a volume that is a disk */
#define CTL_MAX_VOLUME_DISK	(UINT64_C(4) << 40)
#define CTL_MKFS_MS		120000
#define CTL_MAX_PULLS		64   /* kept in images/pulls beside those under way */
#define CTL_MAX_PULL_LINES	1024 /* of one; a reader that comes later sees dropped */
#define CTL_PULL_LINE_MS	200 /* between two lines of one layer that say nothing but more bytes */
#define CTL_MAX_PINS		320 /* images that a sandbox keeps to */
#define CTL_MAX_LOGINS		256
#define CTL_MAX_REGISTRIES	256   /* lines of images/registries */
#define CTL_MAX_REG_BYTES	65536 /* of them all */
#define CTL_MAX_MIRRORS		8     /* of a registry */
#define CTL_MAX_LINE		4096  /* bytes of a line, newline not counted */
#define CTL_MAX_WORDS		8     /* words of a command line */
#define CTL_MAX_ENV		256   /* variables of a sandbox */
#define CTL_MAX_ENV_NAME	128   /* bytes */
#define CTL_MAX_ENV_BYTES	32768 /* names and values of a sandbox: one message to the agent */
#define CTL_MAX_USER		128   /* bytes of a user's name and groups */
#define CTL_MAX_SCRIPTS		64    /* of a sandbox */
#define CTL_MAX_SCRIPT_BYTES	(1u << 20)  /* of one */
#define CTL_MAX_PATCHES		1024	    /* files, directories and links of patches/ */
#define CTL_MAX_PATCH_BYTES	(16u << 20) /* of all files of patches/ together */
#define CTL_MAX_PATCH_DEPTH	32	    /* names of a path there */
#define CTL_MAX_KEPT_PATH	1024	    /* bytes of a path below scripts/ or patches/ */
#define CTL_MAX_JOBS		512	    /* directories of jobs/ of a sandbox */
#define CTL_JOB_CHAINS		4096	    /* in which all of them are found by their serial */
#define CTL_MAX_ARGV_BYTES	28672 /* of a job; with both environments one message to the agent */
#define CTL_MAX_ARGV_TEXT	(8 * CTL_MAX_ARGV_BYTES) /* of it as it is written: JSON has escapes */
#define CTL_MAX_JOB_ENV_BYTES	4096
#define CTL_MAX_RLIMITS		16 /* lines, and kinds, of resource limits */
#define CTL_MAX_JOB_TIMEOUT_SEC 31536000
#define CTL_JOB_BUFFER		(352u << 10) /* output of a job, kept for who reads it: 256 KiB at least */
#define CTL_REJOIN_MS		15000 /* that a new msbd gives the holders of `at-close hangup` jobs */
#define CTL_MAX_MOUNTS		31    /* lines of `mounts` */
#define CTL_MAX_MOUNTS_BYTES	65536 /* of them all */
#define CTL_MAX_TMPFS		16    /* lines of `tmpfs` */
#define CTL_MAX_LABELS		256   /* of a sandbox */
#define CTL_MAX_LABEL_KEY	255   /* bytes */
#define CTL_MAX_TABLE_BYTES	16384 /* of labels, or another table but mounts */
#define CTL_MAX_OVERLAYS	256 /* directories of changes that overlay mounts of a sandbox left */
#define CTL_MAX_MEMORY_BYTES	(UINT64_C(1) << 40)
#define CTL_MAX_META_BYTES	(1u << 20)
#define CTL_MAX_CONFIG_BYTES	(4u << 20) /* an image's config.json */

/* Requests that may wait have a thread each; past these EAGAIN. Kept apart so that neither readers
 * nor commands in the guest can keep a `kill` from getting through. */
#define CTL_MAX_READERS	 512 /* blocked reads */
#define CTL_MAX_EXECS	 512 /* blocked writes of exec */
#define CTL_MAX_COMMANDS 256 /* every other request that may wait */
#define CTL_MAX_KILLS	 64  /* writes to a ctl that begin with kill */
#define CTL_THREAD_STACK (1u << 20)

/* What all users but the instance's own may take together of each of these, and of open files: the
 * rest is the owner's, who so always gets through. */
#define CTL_OTHERS_SHARE(limit) ((limit) / 2)

#define CTL_MAX_HANDLES	  16384 /* open files; ENFILE past it */
#define CTL_MAX_SCRAPES	  64	/* of them of `metrics` */
#define CTL_SAMPLE_MS	  1000	/* that helpers have to say their figures */
#define CTL_MAX_EVENTS	  256	/* kept for a sandbox; a reader that falls behind sees dropped */
#define CTL_MAX_NOTICES	  20	/* in ... events of a kind that somebody may cause without end */
#define CTL_NOTICES_MS	  10000 /* ... of a sandbox, or of the instance; the rest are counted */
#define CTL_MAX_GEVENTS	  2048	/* kept for all */
#define CTL_MAX_ERRORS	  256
#define CTL_MAX_ANSWER	  65536	     /* unread answers of a read-write fd on a ctl */
#define CTL_MAX_LOG_BYTES (8u << 20) /* msb.log, then msb.log.1 */

#define CTL_MAX_AGENT_ENDS 5 /* in ... an agent's process that ended is started again; then the */
#define CTL_AGENT_ENDS_MS  60000 /* sandbox has failed */

/* A plugin that ends is started again after a while, twice as long each time; one that ran for
 * CTL_PLUGIN_GOOD_MS counts from the beginning again. After CTL_MAX_PLUGIN_ENDS it stays away. */
#define CTL_MAX_PLUGIN_ENDS  8
#define CTL_PLUGIN_WAIT_MS   100
#define CTL_PLUGIN_GOOD_MS   10000
#define CTL_MAX_PLUGIN_FILES 4096		 /* RLIMIT_NOFILE of a plugin */
#define CTL_MAX_PLUGIN_BYTES (UINT64_C(4) << 30) /* RLIMIT_DATA */
#define CTL_MAX_PLUGIN_LINE  1024 /* bytes of a line it prints; longer ones are cut up */
#define CTL_MAX_PLUGIN_LINES 100  /* ... in ... that are logged, the rest are counted */
#define CTL_PLUGIN_LINES_MS  10000

/* A machine that ended by itself starts again after a while, twice as long each time in a row; one
 * that ran for CTL_RESTART_GOOD_MS counts from the beginning again. */
#define CTL_RESTART_FIRST_MS  100
#define CTL_RESTART_MAX_MS    60000
#define CTL_RESTART_GOOD_MS   10000
#define CTL_MAX_RESTART_TRIES 1000000
#define CTL_MAX_POLICY_SEC    31536000 /* of the time limits */
#define CTL_MAX_STOP_SEC      3600

/* Health checks: docker's defaults; those of seconds are files' bounds, too. */
#define CTL_HEALTH_INTERVAL_SEC	      30
#define CTL_HEALTH_TIMEOUT_SEC	      30
#define CTL_HEALTH_RETRIES	      3
#define CTL_HEALTH_START_INTERVAL_SEC 5 /* most between two while it starts */
#define CTL_MAX_HEALTH_SEC	      86400
#define CTL_MAX_HEALTH_RETRIES	      1000
#define CTL_HEALTH_RESULTS	      5	   /* kept; a reader sees the last ones */
#define CTL_HEALTH_OUTPUT_BYTES	      4096 /* of each */

#define CTL_BOOT_TIMEOUT_MS 120000 /* PID 1 must be ready; TCG on a loaded machine is slow */
#define CTL_SPEAK_TIMEOUT_MS                                                                       \
	10000			  /* a mixtape's start waits so long for its console's first byte */
#define CTL_DEFAULT_STOP_SEC "10" /* graceful stop, then kill */
#define CTL_STOP_TERM_MS(all)                                                                      \
	((all) / 10 * 7) /* of it from SIGTERM to SIGKILL; the rest is for sync */
#define CTL_MAX_MEMORY_TIMES                                                                       \
	16 /* max_memory_bytes of memory_bytes: a 64th of it is the kernel's to count it */
#define CTL_RESIZE_MS	      30000 /* most that a guest may take to give memory back */
#define CTL_RESIZE_LOOK_MS    50
#define CTL_RESIZE_LEFT_BYTES (UINT64_C(32) << 20) /* of a guest, never taken from it */
#define CTL_RESIZE_ASK_MS     10000
#define CTL_END_TIMEOUT_MS    500   /* a helper that was asked to end, then SIGKILL */
#define CTL_CHECKPOINT_MS     30000 /* the write-ahead log is folded in by a thread of its own */
#define CTL_LOOK_AGAIN_MS     50    /* for a ^C behind a signal that meant nothing */
#define CTL_DRAIN_TIMEOUT_MS  5000  /* --stop waits for verbs under way */

#define CTL_DEFAULT_CPUS	 "1"
#define CTL_DEFAULT_MEMORY_BYTES "268435456"

_Static_assert(2 * CTL_MAX_MOUNTS + 1 <= FSD_MAX_MOUNTS,
	"a file server holds the old table and the new one while they are exchanged, and scripts");

#endif
