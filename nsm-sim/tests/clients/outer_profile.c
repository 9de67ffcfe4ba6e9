/* outer_profile DENIAL… -- CMD…: runs CMD under a seccomp filter as a container
 * runtime would install it, with EPERM for the calls named: vsock (socket of
 * AF_VSOCK), pidfd_getfd, process_vm, seccomp, unshare, interfaces (changing one, as
 * AppArmor does in a user namespace); old_kernel answers ENOSYS
 * to seccomp, as one without it. x86-64 and aarch64. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct sock_filter program[64];
static unsigned short n;

static void refuse(int number, int error)
{
	program[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1);
	program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error);
}

static void deny(int number) { refuse(number, EPERM); }

int main(int argc, char **argv)
{
	int i = 1;
	for (; i < argc && strcmp(argv[i], "--"); i++) {
		if (!strcmp(argv[i], "vsock")) {
			program[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
			program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 3);
			program[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0]));
			program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 40, 0, 1);
			program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
		} else if (!strcmp(argv[i], "pidfd_getfd")) {
			deny(SYS_pidfd_getfd);
		} else if (!strcmp(argv[i], "process_vm")) {
			deny(SYS_process_vm_readv);
			deny(SYS_process_vm_writev);
		} else if (!strcmp(argv[i], "seccomp")) {
			deny(SYS_seccomp);
		} else if (!strcmp(argv[i], "old_kernel")) {
			refuse(SYS_seccomp, ENOSYS);
		} else if (!strcmp(argv[i], "interfaces")) {
			program[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
			program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3);
			program[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1]));
			program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x8914 /* SIOCSIFFLAGS */, 0, 1);
			program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
		} else if (!strcmp(argv[i], "unshare")) {
			deny(SYS_unshare);
		} else {
			return 2;
		}
	}
	program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog filter = { n, program };
	if (i + 1 >= argc || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter)) {
		perror("outer_profile");
		return 2;
	}
	execvp(argv[i + 1], argv + i + 1);
	perror("exec");
	return 2;
}
