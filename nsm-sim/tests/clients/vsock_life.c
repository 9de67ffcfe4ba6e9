/* The life of AF_VSOCK connections within one CID: what the real driver does
 * and an AF_UNIX socket by itself would not. Prints each broken rule; exits
 * with their number. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int broken;
#define RULE(what, holds) \
	do { errno = 0; if (!(holds)) { printf("broken: %s (errno %d)\n", what, errno); broken++; } } while (0)

static unsigned own_cid;

static int stream(void) { return socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0); }

static struct sockaddr_vm at(unsigned cid, unsigned port)
{
	return (struct sockaddr_vm){ .svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port };
}

static int listener(unsigned *port, int backlog)
{
	int s = stream();
	struct sockaddr_vm a = at(VMADDR_CID_ANY, VMADDR_PORT_ANY);
	socklen_t n = sizeof a;
	if (bind(s, (void *)&a, sizeof a) || listen(s, backlog) || getsockname(s, (void *)&a, &n)) return -1;
	*port = a.svm_port;
	return s;
}

static int connect_to(int s, unsigned port)
{
	struct sockaddr_vm a = at(own_cid, port);
	return connect(s, (void *)&a, sizeof a);
}

static int fails_with(int rc, int expected) { return rc == -1 && errno == expected; }

static int pending_error(int s)
{
	int e = -1;
	socklen_t n = sizeof e;
	return getsockopt(s, SOL_SOCKET, SO_ERROR, &e, &n) ? -2 : e;
}

static volatile sig_atomic_t alarms;
static void on_alarm(int sig) { (void)sig; alarms++; }

static void alarm_in_ms(int ms, int flags)
{
	struct sigaction sa = { .sa_handler = on_alarm, .sa_flags = flags };
	sigaction(SIGALRM, &sa, NULL);
	struct itimerval t = { { 0, 0 }, { 0, ms * 1000 } };
	setitimer(ITIMER_REAL, &t, NULL);
}

static int shared_listener;
static void *accept_one(void *arg)
{
	(void)arg;
	int c = accept(shared_listener, NULL, NULL);
	char b = 0;
	if (c < 0 || read(c, &b, 1) != 1 || write(c, &b, 1) != 1) return "bad";
	close(c);
	return NULL;
}

int main(void)
{
	alarm(60); /* a hang is a failure, too */
	int dev = open("/dev/vsock", O_RDONLY);
	RULE("/dev/vsock names the local CID", dev >= 0 && ioctl(dev, IOCTL_VM_SOCKETS_GET_LOCAL_CID, &own_cid) == 0 && own_cid == 16);

	unsigned port;
	int l = listener(&port, 8);
	RULE("a port of one's own choosing is not a reserved one", port > 1023);
	struct sockaddr_vm a;
	socklen_t n = sizeof a;
	int c = stream();
	RULE("connect", connect_to(c, port) == 0);
	RULE("connect again is EISCONN", fails_with(connect_to(c, port), EISCONN));
	RULE("the connecting side's name is (any, port)", !getsockname(c, (void *)&a, &n) && a.svm_cid == VMADDR_CID_ANY && a.svm_port > 1023);
	unsigned client_port = a.svm_port;
	RULE("its peer is the address it named", !getpeername(c, (void *)&a, &n) && a.svm_cid == own_cid && a.svm_port == port);
	n = sizeof a;
	int s = accept4(l, (void *)&a, &n, SOCK_CLOEXEC | SOCK_NONBLOCK);
	RULE("accept names the caller", s >= 0 && n == 16 && a.svm_family == AF_VSOCK && a.svm_cid == own_cid && a.svm_port == client_port);
	RULE("accept4 sets both flags", fcntl(s, F_GETFD) == FD_CLOEXEC && (fcntl(s, F_GETFL) & O_NONBLOCK));
	RULE("the accepted side's name is (own CID, port)", !getsockname(s, (void *)&a, &n) && a.svm_cid == own_cid && a.svm_port == port);
	RULE("its peer is the caller", !getpeername(s, (void *)&a, &n) && a.svm_port == client_port);
	int domain = 0;
	n = sizeof domain;
	RULE("both are AF_VSOCK", !getsockopt(s, SOL_SOCKET, SO_DOMAIN, &domain, &n) && domain == AF_VSOCK);
	char buf[8];
	RULE("bytes pass", write(c, "ping", 4) == 4 && recv(s, buf, 8, 0) == 4 && !memcmp(buf, "ping", 4));
	RULE("nothing more to read yet", fails_with(recv(s, buf, 8, 0), EAGAIN));
	shutdown(c, SHUT_WR);
	RULE("half-close is end of file", recv(s, buf, 8, 0) == 0 && write(s, "pong", 4) == 4 && read(c, buf, 8) == 4);
	close(s);
	RULE("the other side's close is end of file", read(c, buf, 8) == 0);
	close(c);

	c = stream();
	RULE("nobody listening is ECONNRESET", fails_with(connect_to(c, 77), ECONNRESET));
	RULE("the same socket may try again", connect_to(c, port) == 0);
	close(accept(l, NULL, NULL)); close(c);
	c = stream();
	a = at(own_cid, port);
	RULE("a taken port is EADDRINUSE", fails_with(bind(c, (void *)&a, sizeof a), EADDRINUSE));
	a = at(own_cid, port + 1);
	RULE("a bound socket connects", !bind(c, (void *)&a, sizeof a) && !connect_to(c, port));
	n = sizeof a;
	s = accept(l, (void *)&a, &n);
	RULE("and is known by its port", a.svm_port == port + 1);
	close(s); close(c);
	c = stream();
	a = at(VMADDR_CID_LOCAL, port);
	RULE("loopback reaches one's own ports", !connect(c, (void *)&a, sizeof a));
	n = sizeof a;
	RULE("and is what the peer is called", !getpeername(c, (void *)&a, &n) && a.svm_cid == VMADDR_CID_LOCAL);
	close(accept(l, NULL, NULL)); close(c);
	c = stream(); RULE("accept with a bad address", !connect_to(c, port) && fails_with(accept(l, (void *)8, &n), EFAULT)); close(c);
	c = stream(); n = 6; memset(&a, 0xEE, sizeof a);
	RULE("accept with a short address", !connect_to(c, port) && (s = accept(l, (void *)&a, &n)) >= 0 && n == 16 && ((char *)&a)[6] == (char)0xEE);
	close(s); close(c);

	/* non-blocking connect */
	c = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK, 0);
	RULE("non-blocking connect is in progress", fails_with(connect_to(c, port), EINPROGRESS));
	struct pollfd p = { c, POLLOUT, 0 };
	RULE("then writable", poll(&p, 1, 5000) == 1 && (p.revents & POLLOUT));
	RULE("without error", pending_error(c) == 0);
	RULE("and connected", fails_with(connect_to(c, port), EISCONN) && write(c, "x", 1) == 1);
	close(accept(l, NULL, NULL)); close(c);
	c = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK, 0);
	RULE("so is one that nobody answers", fails_with(connect_to(c, 77), EINPROGRESS));
	p = (struct pollfd){ c, POLLOUT, 0 };
	RULE("which is writable, too", poll(&p, 1, 5000) == 1 && (p.revents & POLLOUT));
	RULE("its error is ECONNRESET", pending_error(c) == ECONNRESET);
	RULE("told once", pending_error(c) == 0);
	n = sizeof a;
	RULE("and it is not connected", fails_with(getpeername(c, (void *)&a, &n), ENOTCONN));
	close(c);

	/* backlog */
	unsigned small; int few = listener(&small, 2), held[4];
	for (int i = 0; i < 3; i++) RULE("a backlog of 2 takes 3", !connect_to(held[i] = stream(), small));
	struct timeval patience = { 7, 0 }, kept = { 0, 0 };
	held[3] = stream();
	setsockopt(held[3], SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
	RULE("the next is ECONNRESET, at once", fails_with(connect_to(held[3], small), ECONNRESET));
	n = sizeof kept;
	RULE("its own timeout is untouched", !getsockopt(held[3], SOL_SOCKET, SO_SNDTIMEO, &kept, &n) && kept.tv_sec == 7);
	RULE("and it still blocks", !(fcntl(held[3], F_GETFL) & O_NONBLOCK));
	int nb = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK, 0);
	RULE("non-blocking: in progress, then ECONNRESET", fails_with(connect_to(nb, small), EINPROGRESS) && pending_error(nb) == ECONNRESET);
	close(accept(few, NULL, NULL));
	RULE("room again after an accept", !connect_to(held[3], small));
	for (int i = 0; i < 4; i++) close(held[i]);
	close(nb); close(few);
	int again = stream(); a = at(VMADDR_CID_ANY, small);
	RULE("a closed listener's port is free", !bind(again, (void *)&a, sizeof a));
	RULE("bound but not listening is ECONNRESET", fails_with(connect_to(nb = stream(), small), ECONNRESET));
	close(again); close(nb);

	/* signals and timeouts during accept */
	alarm_in_ms(30, 0);
	RULE("a handler without SA_RESTART makes accept EINTR", fails_with(accept(l, NULL, NULL), EINTR) && alarms == 1);
	pid_t pid = fork();
	if (!pid) { for (int i = 0; i < 2; i++) { c = stream(); struct timespec nap = { 0, 400000000 }; nanosleep(&nap, NULL); if (connect_to(c, port)) _exit(1); close(c); } _exit(0); }
	alarm_in_ms(30, SA_RESTART);
	RULE("a handler with SA_RESTART runs and accept goes on", (s = accept(l, NULL, NULL)) >= 0 && alarms == 2);
	close(s);
	RULE("accept waits for the next caller", (s = accept(l, NULL, NULL)) >= 0);
	close(s); int status; waitpid(pid, &status, 0);
	RULE("whose connect succeeded", status == 0);
	struct timeval soon = { 0, 30000 };
	setsockopt(l, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon);
	RULE("accept heeds SO_RCVTIMEO", fails_with(accept(l, NULL, NULL), EAGAIN));
	soon.tv_usec = 0; setsockopt(l, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon);
	alarm(60);

	/* many threads in accept while other calls go on */
	shared_listener = l;
	pthread_t threads[4];
	for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, accept_one, NULL);
	for (int i = 0; i < 200; i++) close(open("/dev/vsock", O_RDONLY));
	for (int i = 0; i < 4; i++) {
		c = stream();
		RULE("each thread in accept gets a caller", !connect_to(c, port) && write(c, "q", 1) == 1 && read(c, buf, 1) == 1);
		close(c);
	}
	for (int i = 0; i < 4; i++) { void *bad; pthread_join(threads[i], &bad); RULE("and serves it", !bad); }

	/* seqpacket keeps borders; kinds do not mix */
	int sl = socket(AF_VSOCK, SOCK_SEQPACKET, 0);
	a = at(VMADDR_CID_ANY, VMADDR_PORT_ANY); n = sizeof a;
	RULE("a seqpacket listener", !bind(sl, (void *)&a, n) && !listen(sl, 1) && !getsockname(sl, (void *)&a, &n));
	c = socket(AF_VSOCK, SOCK_SEQPACKET, 0);
	RULE("takes a seqpacket caller", !connect_to(c, a.svm_port) && (s = accept(sl, NULL, NULL)) >= 0);
	RULE("and keeps message borders", send(c, "one", 3, 0) == 3 && send(c, "two!", 4, 0) == 4 && recv(s, buf, 8, 0) == 3 && recv(s, buf, 8, 0) == 4);
	RULE("a stream caller is ECONNRESET", fails_with(connect_to(stream(), a.svm_port), ECONNRESET));

	/* other families are left alone */
	int pair[2];
	RULE("socketpair of AF_UNIX", !socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	struct ucred cred; n = sizeof cred;
	RULE("keeps its credentials", !getsockopt(pair[0], SOL_SOCKET, SO_PEERCRED, &cred, &n) && cred.uid == getuid());
	domain = 0; n = sizeof domain;
	RULE("and its domain", !getsockopt(pair[0], SOL_SOCKET, SO_DOMAIN, &domain, &n) && domain == AF_UNIX);
	struct sockaddr_un un = { .sun_family = AF_UNIX }; sprintf(un.sun_path + 1, "life-%d", getpid());
	int ul = socket(AF_UNIX, SOCK_STREAM, 0), uc = socket(AF_UNIX, SOCK_STREAM, 0);
	socklen_t un_len = 2 + 1 + strlen(un.sun_path + 1);
	RULE("AF_UNIX binds, connects, accepts", !bind(ul, (void *)&un, un_len) && !listen(ul, 1) && !connect(uc, (void *)&un, un_len) && accept(ul, NULL, NULL) >= 0);
	RULE("io_uring is not there", fails_with(syscall(425, 8, buf), ENOSYS));

	/* more connections than the first table of states, and none leaks */
	struct rlimit files; getrlimit(RLIMIT_NOFILE, &files);
	for (int i = 0; i < 3000 && !broken; i++) {
		c = stream();
		RULE("connection after connection", c >= 0 && !connect_to(c, port) && (s = accept(l, NULL, NULL)) >= 0);
		close(c); close(s);
	}
	printf("%d rules broken\n", broken);
	return broken > 100 ? 100 : broken;
}
