/* nsm_storm COUNT MICROSECONDS: COUNT requests that each change the device's state once,
 * under a timer signal at that interval, with opens, connects and accepts between.
 * Each reply must be exactly one more than the last. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static volatile sig_atomic_t ticks;
static void tick(int sig) { (void)sig; ticks++; }

int main(int argc, char **argv)
{
	if (argc != 3) return 2;
	int count = atoi(argv[1]), every = atoi(argv[2]);
	struct sigaction sa = { .sa_handler = tick, .sa_flags = SA_RESTART };
	sigaction(SIGALRM, &sa, NULL);
	struct itimerval t = { { 0, every }, { 0, every } };
	setitimer(ITIMER_REAL, &t, NULL);
	struct sockaddr_vm a = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = VMADDR_PORT_ANY };
	socklen_t n = sizeof a;
	int l = socket(AF_VSOCK, SOCK_STREAM, 0);
	if (l < 0 || bind(l, (void *)&a, n) || listen(l, 8) || getsockname(l, (void *)&a, &n)) { perror("listen"); return 1; }
	int lowest = dup(0);
	close(lowest);
	for (int i = 1; i <= count; i++) {
		char reply[32] = { 0 };
		uint64_t raw[4] = { (uintptr_t)"count", 5, (uintptr_t)reply, sizeof reply };
		int fd = open("/dev/nsm", O_RDWR), s = socket(AF_VSOCK, SOCK_STREAM, 0);
		if (fd < 0 || s < 0) { perror("open"); return 1; }
		if (ioctl(fd, 0xC0200A00UL, raw)) { perror("ioctl"); return 1; }
		if (atoi(reply) != i) { printf("%s instead of %d\n", reply, i); return 1; }
		struct sockaddr_vm to = a;
		to.svm_cid = VMADDR_CID_LOCAL;
		if (connect(s, (void *)&to, sizeof to)) { perror("connect"); return 1; }
		int c = accept(l, NULL, NULL);
		if (c < 0) { perror("accept"); return 1; }
		close(fd); close(s); close(c);
	}
	t = (struct itimerval){ 0 };
	setitimer(ITIMER_REAL, &t, NULL);
	int last = dup(0);
	if (last != lowest) { printf("descriptors leaked: %d instead of %d\n", last, lowest); return 1; }
	printf("%d counted, %d signals\n", count, (int)ticks);
	return 0;
}
