package linuxabi

import "strings"

// lego are the Linux entries of LegoOS's own table of system calls (its paper,
// Shan et al., OSDI'18, counts 113 with its own).
var lego = strings.Fields(`
read write open close stat fstat lstat poll lseek
mmap mprotect munmap brk rt_sigaction rt_sigprocmask rt_sigreturn ioctl pread64 pwrite64 readv writev access pipe
sched_yield mremap msync madvise dup dup2 pause nanosleep setitimer getpid socket connect accept sendto recvfrom
sendmsg recvmsg bind listen clone fork vfork execve exit wait4 kill uname fcntl fsync truncate ftruncate getdents
getcwd rename mkdir rmdir creat unlink readlink gettimeofday getrlimit getrusage sysinfo getuid getgid setuid setgid
geteuid getegid getppid getpgrp rt_sigpending rt_sigtimedwait rt_sigqueueinfo rt_sigsuspend sigaltstack statfs prctl
arch_prctl setrlimit sync gettid tkill time futex sched_setaffinity sched_getaffinity epoll_create set_tid_address
restart_syscall clock_gettime exit_group epoll_wait epoll_ctl tgkill mbind openat newfstatat unlinkat waitid
set_robust_list get_robust_list pipe2 epoll_create1 getcpu
`)
