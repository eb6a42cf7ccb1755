/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What msbd knows: sandboxes, images, their values and states, and what happened.
 *
 * One lock, ctl.lock, guards every field below that does not say otherwise. It is held for memory
 * and for commits of the state file (ctl/db.h), never across anything that waits: the thread that
 * answers the kernel takes it too. ctl.changed is broadcast whenever a state, an event or a
 * cancellation might let a waiting reader go on.
 */
#ifndef MSB_CTL_MODEL_H
#define MSB_CTL_MODEL_H

#include "base/err.h"
#include "base/idmap.h"
#include "base/paths.h"
#include "ctl/db.h"
#include "ctl/health.h"
#include "ctl/limits.h"
#include "ctl/ring.h"
#include "fs/image/limits.h"
#include "fs/image/ref.h"
#include "vmm/vmm.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct ctl;
struct ctl_handle;
struct ctl_job;
struct ctl_op;
struct ctl_plugin;
struct ctl_kept;
struct ctl_login;
struct ctl_pull;

enum ctl_state { /* names in ctl_state_name() */
	ST_CREATED,
	ST_STARTING,
	ST_RUNNING,
	ST_PAUSED,
	ST_STOPPING,
	ST_STOPPED,
	ST_FAILED,
};

enum ctl_conf_id { /* rows of the table in conf.c */
	CONF_IMAGE,
	CONF_CPUS,
	CONF_MEMORY,
	CONF_HOSTNAME,
	CONF_USER,
	CONF_WORKDIR,
	CONF_MOUNTS,
	CONF_ROOT_OPTIONS,
	CONF_PULL,
	CONF_DISK_BYTES,
	CONF_RESTART,
	CONF_MAX_DURATION,
	CONF_IDLE_TIMEOUT,
	CONF_STOP_TIMEOUT,
	CONF_ENTRYPOINT,
	CONF_CMD,
	CONF_LABELS,
	CONF_RLIMITS,
	CONF_INIT,
	CONF_MAX_CPUS,
	CONF_MAX_MEMORY,
	CONF_AUTO_REMOVE,
	CONF_HEALTHCHECK,
	CONF_HEALTH_INTERVAL,
	CONF_HEALTH_TIMEOUT,
	CONF_HEALTH_RETRIES,
	CONF_HEALTH_START,
	CONF_HEALTH_START_INTERVAL,
	CONF_TMPFS,
	CONF_COUNT,
};

/* A process of ours that outlives msbd. pid 0: none. Its start time tells it from a later process
 * with the same number. */
struct ctl_helper {
	pid_t pid;
	int pidfd; /* -1: none */
	uint64_t start_ticks;
};

/* A file server and its view on the host: of a sandbox's root or of an image. See ctl/files.h. */
struct ctl_files {
	pthread_mutex_t lock;  /* may be held across waits; taken before ctl.lock, never after it */
	struct ctl_helper fsd; /* ctl.lock */
	int sock;	       /* control connection, -1: none; files.lock */
	struct msb_ids as;     /* as whom it runs, while it does; files.lock: ctl/owner.h */
	bool viewed;	       /* mounted at run/views/ID/root; files.lock */
	unsigned int nmounts;  /* what else it serves, by name; files.lock */
	char mount[FSD_MAX_MOUNTS][FSD_MAX_MOUNT_NAME + 1];
	bool closed;	   /* its owner is being removed: never start again; files.lock */
	uint64_t asked_ms; /* when it was asked to end, 0: not yet; files.lock */
};

/* Events of a kind that somebody may cause without end: see ctl_notice(). */
struct ctl_notes {
	uint64_t since_ms; /* CLOCK_MONOTONIC */
	unsigned int n;	   /* since then */
	uint64_t more;	   /* that were left out since the last one that was not */
};

struct ctl_env {
	uint32_t serial; /* in node ids */
	char *name, *value;
};

/* What a name stands for: where the name is given to another image, another struct takes its place,
 * with the same serial. */
struct ctl_image {
	struct ctl *c;
	unsigned int refs;
	uint32_t serial;
	bool gone;
	char name[IMG_REF_MAX + 1];    /* canonical: HOST/REPO:TAG or HOST/REPO@sha256:HEX */
	char shorter[IMG_REF_MAX + 1]; /* how it may be called beside; "": by no other name */
	char id[33], digest[65];
	uint64_t size_bytes, created_usec;
	struct ctl_files files;
};

/* A directory of `images/` above those of images: HOST, HOST/REPO and so on. */
struct ctl_image_dir {
	uint32_t serial;
	char *path;
};

/* A directory that outlives sandboxes: see ctl/volumes.h. */
struct ctl_volume {
	struct ctl *c;
	unsigned int refs;
	uint32_t serial;
	bool gone;
	char id[33], name[64];
	uid_t uid;
	gid_t gid;
	mode_t mode;
	uint64_t created_usec, quota_bytes; /* 0: none */
	bool disk;			    /* its kind; quota_bytes is its size then */
	/* Its files are being given from giver's to uid's. Whoever does that, one at a time, holds
	 * give_lock, which is taken before ctl.lock. */
	pthread_mutex_t give_lock;
	bool giving;
	uid_t giver;
};

/* What a name meant when it was first used: the sandbox goes on with that image. */
struct ctl_pin {
	char *ref; /* canonical; "" is the root's */
	char digest[65];
	bool kept; /* changes lie on top of it: it stays until the sandbox goes */
};

struct ctl_sandbox {
	struct ctl *c;
	unsigned int refs;
	uint32_t serial;      /* in node ids; never reused while msbd runs */
	bool gone;	      /* removed: what is still open reads as ended */
	bool foreign;	      /* its machine, where it has one, runs no agent of ours: a mixtape */
	bool used;	      /* its root was served once, from the image that is set */
	uint64_t fresh_bytes; /* of its upper directory while nothing is changed; 0: not known */
	char id[33], name[64];
	uid_t uid;
	gid_t gid;
	mode_t mode;
	uint64_t created_usec, started_usec, boot_ms;
	char *conf[CONF_COUNT];
	char *was[CONF_COUNT]; /* what the machine was started with, where that is not conf; NULL */
	uint64_t generation;   /* of the values and variables; counts */
	struct ctl_env *env;
	size_t nenv, env_bytes;
	uint32_t next_env;
	struct ctl_kept *kept; /* of scripts/ and patches/: ctl/kept.h */
	size_t nkept;
	uint32_t next_kept;
	uint64_t scripts_up; /* the machine, as @machines counts, whose guest has them, and 1; 0 */
	struct ctl_pin *pin;
	size_t npins;

	struct ctl_job *jobs; /* by number */
	size_t njobs;
	uint32_t next_job, job_bound; /* the last number that was given; none above is before it is
					 written down */

	/* Its main command: ctl/run_main.h. */
	uint32_t main_job;	/* its number; 0: none */
	bool main_over;		/* it has ended, */
	int main_exit;		/* with this exit code; -1: not */
	uint64_t main_ended_ms; /* and then; CLOCK_MONOTONIC */
	char main_why[256];

	/* What happens to it by itself: ctl/policy.h. */
	bool started_once, wanted; /* somebody has started it; and not stopped it since */
	unsigned int restart_tries, restarts;
	uint64_t restart_at_ms; /* CLOCK_MONOTONIC, as what follows; 0: not */
	uint64_t ran_since_ms;
	atomic_uint commands;	  /* of exec, under way; no lock */
	atomic_ullong jobs_total; /* commands and jobs that were started while msbd runs; no lock */
	_Atomic uint64_t active_ms; /* when something last ended; no lock */
	uint64_t rejoin_at_ms;	    /* until then its jobs wait for who held them; 0: none does */
	char stop_why[96];	    /* of the stop under way; "": somebody asked */
	bool ran; /* a machine of it has, and its end was not settled: ctl/auto_remove.h */
	unsigned int restarting; /* calls of ctl_restart() */

	struct ctl_health health;

	enum ctl_state state;
	char reason[MSB_ERR_MAX]; /* of the state, "" where it needs none */
	char error[MSB_ERR_MAX];  /* last error, a sentence */
	uint64_t changes;	  /* of state */
	uint64_t ends;		  /* of machines */
	enum ctl_state end_state; /* at the last end */
	struct ctl_ring events;
	int news_fd;	 /* of msb-agentd, for events of the guest; -1: none */
	int denied_fd;	 /* of msb-fsd, for what it refuses; -1: none */
	bool agent_told; /* that it was lost, and not yet that it is back */
	struct ctl_notes oom_notes, agent_notes, denied_notes;

	/* The verb under way; only its thread changes what follows. See ctl/op.h. */
	struct ctl_op *op;
	int doom; /* errno that ends the verb under way; 0: none */
	char doom_msg[MSB_ERR_MAX];
	uint32_t room_cpus;	    /* what its machine was made for at most: */
	uint64_t room_memory_bytes; /* ctl/resize.h */
	bool machine;		    /* a QEMU of this sandbox may exist */
	uint64_t machines;	    /* how many it has had while msbd runs */
	bool machine_ended;	    /* it has, since the last start */
	bool end_told;		    /* the machine worker has said how: end_how, end_detail */
	enum vmm_end end_how;
	char end_detail[256];
	/* Another table of mounts, while `mounts` is being exchanged for it or it for `mounts`:
	 * what only this one has is to go, what only `mounts` has is to come. NULL: none. */
	char *other_mounts;
	bool agent_lost;	    /* its process ended during a verb that can do without */
	struct ctl_plugin *plugins; /* of its mounts */
	unsigned int nexports;	    /* what the file server listens for: root, shares */
	struct ctl_helper qemu;	    /* no child of ours: never reaped here */
	struct ctl_helper agent;
	unsigned int agent_ends;   /* by themselves, under a running machine, since ... */
	uint64_t agent_ends_since; /* CLOCK_MONOTONIC, ms */
	struct ctl_files files;
};

/* In a sandbox's directory: those that its file server and its agent's process write, each of which
 * is given that one alone. */
#define CTL_AUDIT_DIR "audit"
#define CTL_AGENT_DIR "agent"

struct ctl {
	struct msb_paths paths;
	int log_fd, store_fd, sandboxes_fd, volumes_fd, run_fd; /* for msbd's whole life */
	uid_t uid;						/* who runs msbd */
	gid_t gid;
	uint64_t started_usec;
	uint64_t image_limits[IMG_NLIMITS]; /* of what is taken in; 0: msb's own */

	pthread_mutex_t
		fold_lock; /* held while db's log is folded in or synced: taken before lock */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct ctl_db *db;
	struct ctl_sandbox *sb[CTL_MAX_SANDBOXES];	  /* by name */
	struct ctl_sandbox *by_serial[CTL_MAX_SANDBOXES]; /* the same */
	struct ctl_sandbox *by_id[CTL_MAX_SANDBOXES];
	size_t nsb;
	struct ctl_job *job[CTL_JOB_CHAINS]; /* of all sandboxes, by the remainder of the serial */
	struct ctl_image *img[CTL_MAX_IMAGES]; /* by name */
	size_t nimg;
	struct ctl_volume *vol[CTL_MAX_VOLUMES]; /* by name */
	size_t nvol;
	struct ctl_image_dir dir[CTL_MAX_IMAGE_DIRS]; /* by path */
	size_t ndirs;
	/* By number: those under way, a request or a start each, and the last that have ended. */
	struct ctl_pull *pull[CTL_MAX_PULLS + CTL_MAX_COMMANDS + CTL_MAX_SANDBOXES];
	size_t npulls;
	uint32_t next_pull;
	unsigned int
		adding;	 /* calls that add to the store; while there is one nothing is collected */
	bool collecting; /* ... and while this is, none begins */
	bool gc_due, prune_due; /* it was asked for while there was one */
	struct ctl_login *login;
	size_t nlogins;
	char *registries; /* the table's text */
	uint32_t next_serial;
	struct ctl_ring events, errors;
	struct ctl_notes limit_notes, denied_notes;
	char error[MSB_ERR_MAX];
	struct ctl_scrape *scrape;  /* of `metrics`, under way; see ctl/metrics.c */
	struct ctl_handle *pollers; /* open files that somebody polls */
	size_t nhandles, nothers;   /* all open files; those opened by others than uid */
	size_t nfew[2];		    /* of those, NF_FEW: by uid; by others */
	unsigned int nops;	    /* verbs under way */
	bool ending;		    /* msbd is about to exit: no new verbs */
	bool stopping_all;	    /* ... and so is every machine, which nobody asked it of */
	bool stopped_all;	    /* ... as `shutdown` said: it exits once that is answered */
	int exit_fd;		    /* eventfd: written, msbd ends */
	int stop_fd; /* eventfd: readable once everything is being stopped: waits for a user's
			processes end */

	pthread_mutex_t vmm_lock; /* guards the making of vmm; may be held across waits */
	struct vmm *vmm;	  /* NULL until the first need */
	int epoll_fd;		  /* the supervisor's; see ctl/supervise.h */
	int policy_fd;		  /* its as well: a timer, -1: not yet */
	int inotify_fd;		  /* its as well: logs and consoles that somebody polls */
};

/* Who asks, and how to tell that they no longer wait. */
struct ctl_cancel {
	atomic_bool set;
	int fd; /* eventfd: readable once set */
};
struct ctl_req {
	struct ctl *c;
	pid_t pid;
	uid_t uid;
	gid_t gid;
	struct ctl_cancel *cancel; /* NULL: nobody to cancel */
	bool no_wait;		   /* what would wait is -EAGAIN, as with O_NONBLOCK */
};

const char *ctl_state_name(enum ctl_state s);
bool ctl_state_ended(enum ctl_state s); /* no machine: created, stopped, failed */
uint64_t ctl_now_usec(void);		/* CLOCK_REALTIME */

/* What was done to sandboxes, images and volumes outlives a power cut from now on. Waits for the
 * disk; no lock may be held. -errno with @e. */
int ctl_sync(struct ctl *c, struct msb_err *e);

/**
 * ctl_open() - Take up the state of an instance
 * Makes the directories of @paths, opens the state file and reads it in. Machines are not looked
 * at: that is ctl_recover()'s.
 */
int ctl_open(const struct msb_paths *paths, int log_fd, struct ctl **ret, struct msb_err *e);

/* References; ctl.lock held. What is returned is borrowed: valid while the lock is held, or with a
 * reference. */
struct ctl_sandbox *ctl_sandbox_find(struct ctl *c, const char *name);
struct ctl_sandbox *ctl_sandbox_by_serial(struct ctl *c, uint32_t serial);
struct ctl_sandbox *ctl_sandbox_by_id(struct ctl *c, const char *id);
struct ctl_sandbox *ctl_sandbox_ref(struct ctl_sandbox *sb);
void ctl_sandbox_unref(struct ctl_sandbox *sb); /* takes the lock itself; NULL is fine */

/**
 * ctl_sandbox_create() - mkdir NAME
 * Errors: -EINVAL not a name; -EPERM reserved; -EEXIST; -EDQUOT CTL_MAX_SANDBOXES; -ENOSPC.
 * ctl_sandbox_remove() - rmdir NAME: ends its file server and deletes its files; waits
 * Errors: -EBUSY it has a machine, or a verb is under way.
 */
int ctl_sandbox_create(struct ctl *c, const char *name, uid_t uid, gid_t gid, struct msb_err *e);
int ctl_sandbox_remove(struct ctl_sandbox *sb, struct msb_err *e);
/* Its two halves: it is gone for everybody (ctl.lock held; @why goes into the event, NULL: somebody
 * asked), then what it had is deleted, and with it the table's reference; that one waits. */
int ctl_sandbox_take(struct ctl_sandbox *sb, const char *why, struct msb_err *e);
void ctl_sandbox_clear(struct ctl_sandbox *sb);
int ctl_sandbox_own(struct ctl_sandbox *sb, uid_t uid, gid_t gid, mode_t mode, struct msb_err *e);
bool ctl_name_reserved(const char *name);

/* Changes the state, writes it down, tells everybody; lock held. @reason may be NULL. */
void ctl_sandbox_state(struct ctl_sandbox *sb, enum ctl_state s, const char *reason);
/* Writes down one of msbd's own facts; lock held. A failure is logged. */
void ctl_sandbox_fact(struct ctl_sandbox *sb, const char *key, const char *value);

int ctl_new_id(char ret[33], struct msb_err *e); /* 32 hex digits, never given before */
void ctl_files_init(struct ctl_files *f, const struct ctl *c);
void ctl_files_done(struct ctl_files *f);

/* run/sb/ID/FILE, as short as a socket's path has to be (base/paths.h bounds the rest). */
void ctl_sock_path(const struct ctl *c, const char *id, const char *file, char ret[108]);

#endif
