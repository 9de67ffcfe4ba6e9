/* nsm_busy PIPE: while one thread's request keeps the device busy, another
 * opens files and sockets, accepts and connects, and only then frees the
 * device by writing to the pipe. Hangs if anything waits for the device. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static char request[256], reply[64];
static uint64_t raw[4];

static void *ask(void *arg)
{
	int fd = open("/dev/nsm", O_RDWR);
	raw[0] = (uintptr_t)request; raw[1] = strlen(request); raw[2] = (uintptr_t)reply; raw[3] = sizeof reply;
	return ioctl(fd, 0xC0200A00UL, raw) ? "ioctl" : arg;
}

int main(int argc, char **argv)
{
	(void)argc;
	alarm(30);
	if (mkfifo(argv[1], 0666)) { perror("mkfifo"); return 1; }
	snprintf(request, sizeof request, "wait %s", argv[1]);
	pthread_t thread;
	pthread_create(&thread, NULL, ask, NULL);
	/* Opening for writing succeeds once the device reads: it is busy now. */
	int pipe = open(argv[1], O_WRONLY);
	for (int i = 0; i < 100; i++) {
		struct stat st;
		struct sockaddr_vm a = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = VMADDR_PORT_ANY };
		socklen_t n = sizeof a;
		int l = socket(AF_VSOCK, SOCK_STREAM, 0), c = socket(AF_VSOCK, SOCK_STREAM, 0);
		if (bind(l, (void *)&a, n) || listen(l, 1) || getsockname(l, (void *)&a, &n)) return 2;
		a.svm_cid = VMADDR_CID_LOCAL;
		if (connect(c, (void *)&a, n)) return 3;
		int s = accept(l, NULL, NULL), f = open("/dev/nsm", O_RDWR);
		if (s < 0 || f < 0 || stat("/dev/nsm", &st)) return 4;
		close(l); close(c); close(s); close(f);
	}
	if (write(pipe, "free", 4) != 4) return 5;
	close(pipe);
	void *failed;
	pthread_join(thread, &failed);
	if (failed || raw[3] != 4 || memcmp(reply, "free", 4)) return 6;
	puts("went on");
	return 0;
}
