/* What a program may rely on at /dev/nsm: run under a device that answers each
 * request with "re:" and the request. Prints each broken rule; exits with their
 * number. Source of truth: NSM ground truth 1.1 and 1.2, upstream column. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define NSM 0xC0200A00UL
struct raw { uint64_t req, req_len, resp, resp_len; };

static int broken;
#define RULE(what, holds) \
	do { errno = 0; if (!(holds)) { printf("broken: %s (errno %d)\n", what, errno); broken++; } } while (0)

static int ask(int fd, const void *req, uint64_t n, void *resp, uint64_t *room)
{
	struct raw r = { (uintptr_t)req, n, (uintptr_t)resp, *room };
	int rc = ioctl(fd, NSM, &r);
	*room = r.resp_len;
	if (rc == 0 && (r.req != (uintptr_t)req || r.req_len != n || r.resp != (uintptr_t)resp)) return -2;
	return rc;
}

static int answers(int fd)
{
	char buf[64];
	uint64_t room = sizeof buf;
	return ask(fd, "hello", 5, buf, &room) == 0 && room == 8 && !memcmp(buf, "re:hello", 8);
}

static void *hammer(void *arg)
{
	for (int i = 0; i < 500; i++) {
		char req[32], buf[64];
		uint64_t room = sizeof buf;
		int n = sprintf(req, "%ld/%d", (long)(intptr_t)arg, i);
		int fd = open("/dev/nsm", O_RDWR | O_CLOEXEC);
		if (fd < 0 || ask(fd, req, n, buf, &room) || room != (uint64_t)n + 3 || memcmp(buf + 3, req, n))
			return "bad";
		close(fd);
	}
	return NULL;
}

static int fails_with(int rc, int expected) { return rc == -1 && errno == expected; }

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "inherited")) return answers(atoi(argv[2])) ? 0 : 9;

	int fd = open("/dev/nsm", O_RDWR | O_CLOEXEC);
	RULE("open read-write", fd >= 0);
	RULE("the descriptor closes on exec", fcntl(fd, F_GETFD) == FD_CLOEXEC);
	RULE("a request is answered", answers(fd));
	int ro = open("/dev/nsm", O_RDONLY);
	RULE("open read-only and ask", ro >= 0 && answers(ro));
	RULE("access mode is kept", (fcntl(ro, F_GETFL) & O_ACCMODE) == O_RDONLY);
	int wo = open("/dev/nsm", O_WRONLY | O_NONBLOCK);
	RULE("open write-only and ask", wo >= 0 && answers(wo));
	RULE("status flags are each open's own", !(fcntl(fd, F_GETFL) & O_NONBLOCK));
	RULE("exclusive creation finds it there", fails_with(open("/dev/nsm", O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST));
	uint64_t how[3] = { O_RDWR, 0, 0 };
	int o2 = syscall(SYS_openat2, AT_FDCWD, "/dev/nsm", how, sizeof how);
	RULE("openat2", (o2 >= 0 && answers(o2)) || errno == ENOSYS);

	int two = dup(fd), fifty = dup2(fd, 50);
	RULE("dup", answers(two));
	RULE("dup2", fifty == 50 && answers(50));
	close(two);
	char buf[64]; uint64_t room = sizeof buf;
	RULE("a closed descriptor is EBADF", fails_with(ask(two, "x", 1, buf, &room), EBADF));
	pid_t pid = fork();
	if (!pid) _exit(answers(fd) ? 0 : 9);
	int status; waitpid(pid, &status, 0);
	RULE("a forked child asks on the inherited descriptor", status == 0);
	if (!(pid = fork())) { execl(argv[0], argv[0], "inherited", "50", NULL); _exit(8); }
	waitpid(pid, &status, 0);
	RULE("so does a program after exec", status == 0);
	int pair[2]; socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	{
		char c = 'x', control[CMSG_SPACE(sizeof(int))] = { 0 };
		struct iovec iov = { &c, 1 };
		struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
		struct cmsghdr *h = CMSG_FIRSTHDR(&m);
		h->cmsg_level = SOL_SOCKET; h->cmsg_type = SCM_RIGHTS; h->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(h), &fd, sizeof fd);
		sendmsg(pair[0], &m, 0);
		m.msg_controllen = sizeof control;
		recvmsg(pair[1], &m, 0);
		int passed; memcpy(&passed, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof passed);
		RULE("a descriptor passed over a socket", answers(passed));
	}
	struct pollfd p = { fd, POLLIN | POLLOUT, 0 };
	RULE("poll is ready both ways", poll(&p, 1, 0) == 1 && p.revents == (POLLIN | POLLOUT));

	struct stat st;
	struct statx stx;
	RULE("stat: a character device, mode 0666", !stat("/dev/nsm", &st) && st.st_mode == (S_IFCHR | 0666) && major(st.st_rdev) == 10);
	RULE("lstat", !lstat("/dev/nsm", &st) && S_ISCHR(st.st_mode));
	RULE("fstatat", !fstatat(AT_FDCWD, "/dev/nsm", &st, 0) && S_ISCHR(st.st_mode) && st.st_nlink == 1);
	RULE("statx", !statx(AT_FDCWD, "/dev/nsm", 0, STATX_BASIC_STATS, &stx) && S_ISCHR(stx.stx_mode) && stx.stx_rdev_major == 10);
	RULE("fstat: a character device", !fstat(fd, &st) && S_ISCHR(st.st_mode));
	RULE("stat into nowhere is EFAULT", fails_with(syscall(SYS_newfstatat, AT_FDCWD, "/dev/nsm", 8, 0), EFAULT));
	RULE("access", !access("/dev/nsm", F_OK) && !access("/dev/nsm", R_OK | W_OK));
	RULE("access: not executable", fails_with(access("/dev/nsm", X_OK), EACCES));
	RULE("faccessat", !faccessat(AT_FDCWD, "/dev/nsm", R_OK, 0) && !faccessat(AT_FDCWD, "/dev/nsm", R_OK, AT_EACCESS));
	RULE("readlink: no link", fails_with(readlink("/dev/nsm", buf, sizeof buf), EINVAL));
	RULE("other names stay unknown", fails_with(open("/dev/nsm0", O_RDWR), ENOENT) && fails_with(access("/dev/nsm0", F_OK), ENOENT));
	RULE("a bad path is EFAULT", fails_with(syscall(SYS_openat, AT_FDCWD, 8, 0), EFAULT));

	RULE("relative to the working directory", !chdir("/dev") && answers(open("nsm", O_RDWR)) && !access("nsm", F_OK));
	int dir = open("/usr", O_RDONLY | O_DIRECTORY);
	RULE("relative to a directory", answers(openat(dir, "../dev/./nsm", O_RDWR)));
	RULE("with doubled slashes", answers(open("//dev//nsm", O_RDWR)));
	chdir("/");

	struct raw r = { (uintptr_t)"x", 1, (uintptr_t)buf, sizeof buf };
	RULE("another number is EINVAL", fails_with(ioctl(fd, 0xC0200A01UL, &r), EINVAL));
	RULE("the number of a 32-bit struct is EINVAL", fails_with(ioctl(fd, 0xC0100A00UL, &r), EINVAL));
	RULE("any number is EINVAL", fails_with(ioctl(fd, 0x1234, &r), EINVAL));
	RULE("a sign-extended number is the number", ioctl(fd, (int)NSM, &r) == 0);
	RULE("a bad struct pointer is EFAULT", fails_with(ioctl(fd, NSM, (void *)8), EFAULT));
	r = (struct raw){ 8, 4097, 8, 8 };
	RULE("4097 bytes are EMSGSIZE before any pointer is touched", fails_with(ioctl(fd, NSM, &r), EMSGSIZE));
	r = (struct raw){ 8, UINT64_MAX, 8, 8 };
	RULE("so are 2^64-1", fails_with(ioctl(fd, NSM, &r), EMSGSIZE));
	RULE("a refused struct is left alone", r.resp_len == 8);
	r = (struct raw){ 8, 5, (uintptr_t)buf, sizeof buf };
	RULE("a bad request pointer is EFAULT", fails_with(ioctl(fd, NSM, &r), EFAULT));
	r = (struct raw){ (uintptr_t)"count", 5, 8, 64 };
	RULE("a bad response pointer is EFAULT", fails_with(ioctl(fd, NSM, &r), EFAULT));

	static char big[4096 + 8], out[20000];
	memset(big, 'b', sizeof big);
	room = sizeof out;
	RULE("4096 bytes pass", ask(fd, big, 4096, out, &room) == 0 && room == 4099 && out[4098] == 'b');
	room = sizeof out;
	RULE("the largest reply passes", ask(fd, "largest", 7, out, &room) == 0 && room == 12288 && out[12287] == 'L' && out[12288] == 0);
	memset(out, 0, 16); room = 4;
	RULE("a long reply is cut silently", ask(fd, "hello", 5, out, &room) == 0 && room == 4 && !memcmp(out, "re:h\0", 5));
	room = 0;
	RULE("no room at all is fine", ask(fd, "hello", 5, NULL, &room) == 0 && room == 0);
	room = sizeof buf;
	RULE("an empty request reaches the device", ask(fd, NULL, 0, buf, &room) == 0 && room == 3);
	char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(pages + 4096, 4096);
	memcpy(pages + 4096 - 5, "hello", 5);
	room = 8;
	RULE("a request up to the last mapped byte", ask(fd, pages + 4096 - 5, 5, pages + 4096 - 13, &room) == 0 && room == 8);
	mprotect(pages, 4096, PROT_READ);
	struct raw *readonly = (void *)(pages + 64);
	RULE("a struct that cannot be written is EFAULT", fails_with(ioctl(fd, NSM, readonly), EFAULT));

	int file = open("/proc/self/exe", O_RDONLY);
	RULE("a file is ENOTTY", fails_with(ioctl(file, NSM, &r), ENOTTY));
	RULE("a bad descriptor is EBADF", fails_with(ioctl(-1, NSM, &r), EBADF));

	char name[32] = { 0 };
	int rng = open("/sys/class/misc/hw_random/rng_current", O_RDONLY);
	RULE("the hardware generator is the NSM's", rng >= 0 && read(rng, name, sizeof name) == 10 && !memcmp(name, "nsm-hwrng\n", 10));
	int hw = open("/dev/hwrng", O_RDONLY);
	RULE("which gives bytes", hw >= 0 && read(hw, name, sizeof name) == sizeof name);

	pthread_t threads[8];
	for (long i = 0; i < 8; i++) pthread_create(&threads[i], NULL, hammer, (void *)i);
	for (int i = 0; i < 8; i++) { void *bad; pthread_join(threads[i], &bad); RULE("eight threads at once", !bad); }
	printf("%d rules broken\n", broken);
	return broken > 100 ? 100 : broken;
}
