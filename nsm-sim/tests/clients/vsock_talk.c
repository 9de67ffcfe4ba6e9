/* One end of AF_VSOCK connections between two worlds' CIDs:
 *   vsock_talk serve PORT COUNT          prints "ready", echoes COUNT connections, all open at once
 *   vsock_talk talk CID PORT COUNT BYTES opens COUNT connections at once, sends and checks BYTES on each
 *   vsock_talk probe CID PORT            prints the errno name of one connect */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/vm_sockets.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static unsigned cid, port;
static size_t bytes;

static void die(const char *what) { perror(what); exit(1); }

static void *echo(void *arg)
{
	int c = (int)(long)arg;
	char buf[65536];
	ssize_t n;
	while ((n = read(c, buf, sizeof buf)) > 0)
		for (ssize_t done = 0; done < n;) {
			ssize_t w = write(c, buf + done, n - done);
			if (w < 0) die("write");
			done += w;
		}
	close(c);
	return NULL;
}

static void *pour(void *arg)
{
	int c = (int)(long)arg;
	char buf[65536];
	for (size_t sent = 0; sent < bytes;) {
		size_t n = bytes - sent < sizeof buf ? bytes - sent : sizeof buf;
		for (size_t i = 0; i < n; i++) buf[i] = (char)((sent + i) * 31 + c);
		ssize_t w = write(c, buf, n);
		if (w < 0) die("write");
		sent += w;
	}
	shutdown(c, SHUT_WR);
	return NULL;
}

static void *talk(void *arg)
{
	int c = (int)(long)arg;
	char buf[65536];
	pthread_t writer;
	pthread_create(&writer, NULL, pour, arg);
	size_t got = 0;
	ssize_t n;
	while ((n = read(c, buf, sizeof buf)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			if (buf[i] != (char)((got + i) * 31 + c)) { fprintf(stderr, "wrong byte\n"); exit(1); }
		got += n;
	}
	pthread_join(writer, NULL);
	if (got != bytes) { fprintf(stderr, "%zu bytes instead of %zu\n", got, bytes); exit(1); }
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_attr_t attr; pthread_attr_init(&attr); pthread_attr_setstacksize(&attr, 256 * 1024);
	struct sockaddr_vm a = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY };
	if (argc == 4 && !strcmp(argv[1], "serve")) {
		a.svm_port = atoi(argv[2]);
		int count = atoi(argv[3]), l = socket(AF_VSOCK, SOCK_STREAM, 0);
		if (bind(l, (void *)&a, sizeof a) || listen(l, 4096)) die("listen");
		puts("ready"); fflush(stdout);
		pthread_t threads[count]; int c[count];
		for (int i = 0; i < count; i++) {
			socklen_t n = sizeof a;
			if ((c[i] = accept(l, (void *)&a, &n)) < 0) die("accept");
			if (i == 0) { printf("first caller has cid %u\n", a.svm_cid); fflush(stdout); }
		}
		for (long i = 0; i < count; i++) if (pthread_create(&threads[i], &attr, echo, (void *)(long)c[i])) die("thread");
		for (int i = 0; i < count; i++) pthread_join(threads[i], NULL);
		puts("served");
	} else if (argc == 6 && !strcmp(argv[1], "talk")) {
		cid = atoi(argv[2]); port = atoi(argv[3]); int count = atoi(argv[4]); bytes = atoll(argv[5]);
		a.svm_cid = cid; a.svm_port = port;
		pthread_t threads[count]; int c[count];
		for (int i = 0; i < count; i++)
			if ((c[i] = socket(AF_VSOCK, SOCK_STREAM, 0)) < 0 || connect(c[i], (void *)&a, sizeof a)) die("connect");
		for (long i = 0; i < count; i++) if (pthread_create(&threads[i], &attr, talk, (void *)(long)c[i])) die("thread");
		for (int i = 0; i < count; i++) pthread_join(threads[i], NULL);
		printf("%d connections, %zu bytes each\n", count, bytes);
	} else if (argc == 4 && !strcmp(argv[1], "probe")) {
		a.svm_cid = atoi(argv[2]); a.svm_port = atoi(argv[3]);
		puts(connect(socket(AF_VSOCK, SOCK_STREAM, 0), (void *)&a, sizeof a) ? strerrorname_np(errno) : "connected");
	} else {
		fprintf(stderr, "usage\n");
		return 2;
	}
	return 0;
}
