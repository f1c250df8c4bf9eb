package linuxabi

import (
	"fmt"
	"strings"
)

// Monitor is the kind of component whose monitor answers for a system call.
type Monitor uint8

// The monitors. LegoOS has the first three; its sockets are its processor
// monitor's and do not work. Here the network is a component of its own: a vNode
// has one address wherever its parts are.
const (
	Processor Monitor = iota + 1
	Memory
	Storage
	Network
)

var monitorNames = map[Monitor]string{Processor: "processor", Memory: "memory", Storage: "storage", Network: "network"}

func (m Monitor) String() string {
	if name, ok := monitorNames[m]; ok {
		return name
	}
	return fmt.Sprintf("Monitor(%d)", uint8(m))
}

// MarshalText gives the monitor's name.
func (m Monitor) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// ParseMonitor reads a monitor's name.
func ParseMonitor(name string) (Monitor, error) {
	for m, n := range monitorNames {
		if n == name {
			return m, nil
		}
	}
	return 0, fmt.Errorf("unknown monitor %q; use processor, memory, storage or network", name)
}

// rule gives calls to a monitor, for one reason.
type rule struct {
	monitor Monitor
	calls   string // separated by space
}

// rules gives every call to the monitor that holds the state which the call is
// about. A call on a descriptor of any kind goes where most of its data does.
var rules = []rule{
	// Threads and processes live and die where the vCPUs are; only their memory
	// is elsewhere, and the processor monitor asks for that.
	{Processor, `clone clone3 fork vfork execve execveat exit exit_group wait4 waitid getpid getppid gettid getpgrp getpgid
		setpgid getsid setsid set_tid_address pidfd_open pidfd_getfd pidfd_send_signal ptrace kcmp unshare setns acct listns`},
	// Signals interrupt threads.
	{Processor, `rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigqueueinfo rt_tgsigqueueinfo
		rt_sigsuspend sigaltstack kill tkill tgkill pause signalfd signalfd4 restart_syscall`},
	// Scheduling is the processor monitor's own work, and so are the counters of it.
	{Processor, `sched_yield sched_setparam sched_getparam sched_setscheduler sched_getscheduler sched_get_priority_max
		sched_get_priority_min sched_rr_get_interval sched_setaffinity sched_getaffinity sched_setattr sched_getattr
		getpriority setpriority getcpu getrusage times perf_event_open rseq rseq_slice_yield membarrier`},
	// Waiting and waking stays beside the threads that wait, whatever for: a
	// futex's word is in the ExCache, readiness is collected by the local kernel.
	{Processor, `futex futex_wait futex_wake futex_requeue futex_waitv set_robust_list get_robust_list poll ppoll select
		pselect6 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_wait epoll_wait_old epoll_pwait epoll_pwait2
		eventfd eventfd2`},
	// Messages between a vNode's threads never leave the processors: pipes,
	// System V messages and semaphores, POSIX queues.
	{Processor, `pipe pipe2 tee vmsplice semget semop semctl semtimedop msgget msgsnd msgrcv msgctl mq_open mq_unlink
		mq_timedsend mq_timedreceive mq_notify mq_getsetattr`},
	// Clocks and timers are read and fire at the vCPU.
	{Processor, `gettimeofday settimeofday time adjtimex clock_settime clock_gettime clock_getres clock_nanosleep
		clock_adjtime nanosleep getitimer setitimer alarm timer_create timer_settime timer_gettime timer_getoverrun
		timer_delete timerfd_create timerfd_settime timerfd_gettime`},
	// Credentials, limits, security and names are attributes of the process or of
	// its kernel.
	{Processor, `getuid geteuid getgid getegid setuid setgid setreuid setregid setresuid getresuid setresgid getresgid
		setfsuid setfsgid getgroups setgroups capget capset getrlimit setrlimit prlimit64 prctl arch_prctl personality
		seccomp bpf landlock_create_ruleset landlock_add_rule landlock_restrict_self lsm_get_self_attr lsm_set_self_attr
		lsm_list_modules add_key request_key keyctl uname sethostname setdomainname getrandom umask security vserver`},
	// The CPU's own state and the kernel that runs on it.
	{Processor, `modify_ldt iopl ioperm set_thread_area get_thread_area uretprobe uprobe reboot kexec_load kexec_file_load
		create_module init_module finit_module delete_module get_kernel_syms query_module syslog _sysctl vhangup
		lookup_dcookie`},
	// The table of descriptors is the process's; a file behind one is flushed by
	// calls of its own. What ioctl means is a matter of the descriptor.
	{Processor, `close close_range dup dup2 dup3 fcntl ioctl`},

	// The address space: who maps what, and the vRegions behind it.
	{Memory, `mmap munmap mremap mprotect brk remap_file_pages madvise process_madvise mincore map_shadow_stack mseal
		pkey_mprotect pkey_alloc pkey_free process_mrelease userfaultfd cachestat`},
	// Which memory component holds a page (NUMA policy), and that it stays there.
	{Memory, `mbind set_mempolicy get_mempolicy set_mempolicy_home_node migrate_pages move_pages mlock mlock2 munlock
		mlockall munlockall swapon swapoff`},
	// Memory that has a name or is another's: it moves no further than between
	// memory components.
	{Memory, `shmget shmat shmdt shmctl memfd_create memfd_secret process_vm_readv process_vm_writev`},
	// Dirty pages of a mapped file are the memory components' to give up.
	{Memory, `msync`},
	// How much RAM there is, the GMM knows.
	{Memory, `sysinfo`},

	// A file's data. On a socket or pipe the same calls go to the network or stay
	// on the processor, but their bulk is files' (as LegoOS has it).
	{Storage, `read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek sendfile splice
		copy_file_range readahead fadvise64`},
	// Asynchronous I/O: queues of the same.
	{Storage, `io_setup io_destroy io_getevents io_submit io_cancel io_pgetevents io_uring_setup io_uring_enter
		io_uring_register`},
	// A file's life, size and durability.
	{Storage, `open openat openat2 creat truncate ftruncate fallocate fsync fdatasync sync syncfs sync_file_range flock
		name_to_handle_at open_by_handle_at`},
	// Names, directories and where a process stands in them.
	{Storage, `getdents getdents64 getcwd chdir fchdir chroot rename renameat renameat2 mkdir mkdirat rmdir link linkat
		unlink unlinkat symlink symlinkat readlink readlinkat mknod mknodat`},
	// A file's attributes, and word of their changing.
	{Storage, `stat fstat lstat newfstatat statx access faccessat faccessat2 chmod fchmod fchmodat fchmodat2 chown fchown
		lchown fchownat utime utimes futimesat utimensat file_getattr file_setattr
		setxattr lsetxattr fsetxattr setxattrat getxattr lgetxattr fgetxattr getxattrat listxattr llistxattr flistxattr
		listxattrat removexattr lremovexattr fremovexattr removexattrat
		inotify_init inotify_init1 inotify_add_watch inotify_rm_watch fanotify_init fanotify_mark`},
	// Volumes: file systems, mounts, quotas, priorities on a disk.
	{Storage, `mount umount2 pivot_root statfs fstatfs ustat sysfs quotactl quotactl_fd ioprio_set ioprio_get open_tree
		open_tree_attr move_mount fsopen fsconfig fsmount fspick mount_setattr statmount listmount uselib nfsservctl
		afs_syscall`},

	// Sockets: the vNode's address is not bound to any of its processors.
	{Network, `socket socketpair connect accept accept4 bind listen shutdown getsockname getpeername setsockopt getsockopt
		sendto recvfrom sendmsg recvmsg sendmmsg recvmmsg`},
	// Numbers kept for STREAMS and for a web server in the kernel, never filled.
	{Network, `getpmsg putpmsg tuxcall`},
}

// monitorOf is rules by the name of the call.
var monitorOf = func() map[string]Monitor {
	m := map[string]Monitor{}
	for _, r := range rules {
		for call := range strings.FieldsSeq(r.calls) {
			m[call] = r.monitor
		}
	}
	return m
}()
