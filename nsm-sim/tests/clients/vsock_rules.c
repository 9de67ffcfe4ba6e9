/* A transcript of AF_VSOCK's rules. The same program prints the same lines on
 * the kernel's own driver (on a machine that allows AF_VSOCK) and under the
 * runner; the expected lines in runner_vsock.rs were taken from the driver of
 * Linux 6.18. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *name(int e)
{
	switch (e) {
	case EADDRINUSE: return "EADDRINUSE"; case EADDRNOTAVAIL: return "EADDRNOTAVAIL";
	case EAGAIN: return "EAGAIN"; case EFAULT: return "EFAULT"; case EINVAL: return "EINVAL";
	case ENODEV: return "ENODEV"; case ENOPROTOOPT: return "ENOPROTOOPT";
	case ENOTCONN: return "ENOTCONN"; case EOPNOTSUPP: return "EOPNOTSUPP";
	case EPROTONOSUPPORT: return "EPROTONOSUPPORT"; case ERANGE: return "ERANGE";
	case ESOCKTNOSUPPORT: return "ESOCKTNOSUPPORT"; case EBADF: return "EBADF";
	default: return strerror(e);
	}
}
#define SHOW(what, call) \
	do { long rc = (call); if (rc < 0) printf("%s: %s\n", what, name(errno)); else printf("%s: ok\n", what); } while (0)

int main(void)
{
	struct sockaddr_vm any = { .svm_family = AF_VSOCK, .svm_cid = -1, .svm_port = -1 }, at;
	struct sockaddr_storage foreign = { .ss_family = AF_INET };
	const struct sockaddr *a = (void *)&any, *f = (void *)&foreign, *b = (void *)&at;
	int s = socket(AF_VSOCK, SOCK_STREAM, 0);
	SHOW("bind 15 bytes", bind(s, a, 15));
	SHOW("bind 0 bytes", bind(s, a, 0));
	SHOW("bind 200 bytes", bind(s, a, 200));
	SHOW("bind -1 bytes", bind(s, a, -1));
	SHOW("bind nowhere", bind(s, (void *)8, 16));
	SHOW("bind AF_INET", bind(s, f, 16));
	SHOW("connect AF_INET", connect(s, f, 16));
	SHOW("connect 12 bytes", connect(s, a, 12));
	SHOW("connect nowhere", connect(s, (void *)8, 16));
	foreign.ss_family = AF_UNSPEC;
	SHOW("connect AF_UNSPEC", connect(s, f, 16));
	at = any; at.svm_flags = 2;
	SHOW("bind unknown flag", bind(s, b, 16));
	at = any; at.svm_cid = 77;
	SHOW("bind foreign CID", bind(s, b, 16));
	at.svm_cid = 0;
	SHOW("bind hypervisor", bind(s, b, 16));
	at.svm_cid = -1; at.svm_port = 40001; at.svm_reserved1 = 7;
	SHOW("bind port", bind(s, b, 16));
	SHOW("bind twice", bind(s, b, 16));
	int q = socket(AF_VSOCK, SOCK_STREAM, 0);
	SHOW("bind taken port", bind(q, b, 16));
	SHOW("bind any, 128 bytes", bind(q, a, 128));
	SHOW("listen -3", listen(q, -3));
	SHOW("listen again", listen(q, 1));
	SHOW("connect a listener", connect(q, b, 16));
	fcntl(q, F_SETFL, O_NONBLOCK);
	SHOW("accept, nobody", accept(q, NULL, NULL));
	SHOW("accept4 bad flag", accept4(q, NULL, NULL, 4));
	int u = socket(AF_VSOCK, SOCK_STREAM, 0);
	SHOW("listen unbound", listen(u, 2));
	SHOW("accept unbound", accept(u, NULL, NULL));
	struct sockaddr_vm got;
	socklen_t n = 16;
	SHOW("getpeername unconnected", getpeername(u, (void *)&got, &n));
	n = -1;
	SHOW("getsockname -1 bytes", getsockname(u, (void *)&got, &n));
	n = 3;
	SHOW("getsockname 3 bytes", getsockname(u, (void *)&got, &n));
	printf("  length %u\n", n);
	n = 16;
	SHOW("getsockname unbound", getsockname(u, (void *)&got, &n));
	printf("  %d %d family %d\n", (int)got.svm_cid, (int)got.svm_port, got.svm_family);
	SHOW("getsockname bound", getsockname(s, (void *)&got, &n));
	printf("  %d %d\n", (int)got.svm_cid, (int)got.svm_port);
	SHOW("getsockname nowhere", getsockname(s, (void *)8, &n));
	int pair[2];
	SHOW("socketpair", socketpair(AF_VSOCK, SOCK_STREAM, 0, pair));
	SHOW("SOCK_DGRAM", socket(AF_VSOCK, SOCK_DGRAM, 0));
	SHOW("SOCK_RAW", socket(AF_VSOCK, SOCK_RAW, 0));
	SHOW("SOCK_SEQPACKET", socket(AF_VSOCK, SOCK_SEQPACKET, 0));
	SHOW("protocol 40", socket(AF_VSOCK, SOCK_STREAM, 40));
	SHOW("protocol 6", socket(AF_VSOCK, SOCK_STREAM, 6));
	SHOW("type 99", socket(AF_VSOCK, 99, 0));
	SHOW("type flag", socket(AF_VSOCK, SOCK_STREAM | 0x10000, 0));
	unsigned long long v = 0;
	long tv[2] = { 0, 0 };
#define GET(what, option, p, len) \
	do { n = len; SHOW("get " what, getsockopt(u, AF_VSOCK, option, p, &n)); } while (0)
#define SET(what, option, p, len) SHOW("set " what, setsockopt(u, AF_VSOCK, option, p, len))
	GET("size", 0, &v, 8); printf("  %llu, %u\n", v, n);
	GET("size, 4 bytes", 0, &v, 4);
	GET("size min, 16 bytes", 1, tv, 16); printf("  %ld, %u\n", tv[0], n);
	GET("size max", 2, &v, 8); printf("  %llu\n", v);
	GET("option 3", 3, &v, 8);
	GET("option 5", 5, &v, 8);
	GET("option 7", 7, &v, 8);
	GET("timeout", 6, tv, 16); printf("  %ld %ld, %u\n", tv[0], tv[1], n);
	v = 1; SET("size 1", 0, &v, 8); GET("size", 0, &v, 8); printf("  %llu\n", v);
	v = 1 << 20; SET("max 1 MiB", 2, &v, 8); SET("size 1 MiB", 0, &v, 8); GET("size", 0, &v, 8); printf("  %llu\n", v);
	v = 1 << 19; SET("max 512 KiB", 2, &v, 8); GET("size", 0, &v, 8); printf("  %llu\n", v);
	SET("size, 4 bytes", 0, &v, 4);
	SET("option 5", 5, &v, 8);
	tv[0] = 9; tv[1] = 2000000; SET("timeout microseconds", 6, tv, 16);
	tv[0] = -1; tv[1] = 0; SET("timeout negative", 6, tv, 16);
	tv[0] = 0; SET("timeout zero", 6, tv, 16);
	GET("timeout", 6, tv, 16); printf("  %ld %ld\n", tv[0], tv[1]);
	SET("timeout, 8 bytes", 6, tv, 8);
	SET("option 99", 99, tv, 8);
	int cred[3] = { 1, 1, 1 }, i = 0;
	n = 12; SHOW("SO_PEERCRED", getsockopt(u, SOL_SOCKET, SO_PEERCRED, cred, &n)); printf("  %d %d %d, %u\n", cred[0], cred[1], cred[2], n);
	n = 4; SHOW("SO_DOMAIN", getsockopt(u, SOL_SOCKET, SO_DOMAIN, &i, &n)); printf("  %d\n", i);
	n = 4; SHOW("SO_TYPE", getsockopt(u, SOL_SOCKET, SO_TYPE, &i, &n)); printf("  %d\n", i);
	n = 4; SHOW("SO_PROTOCOL", getsockopt(u, SOL_SOCKET, SO_PROTOCOL, &i, &n)); printf("  %d\n", i);
	n = 4; SHOW("SO_ERROR", getsockopt(u, SOL_SOCKET, SO_ERROR, &i, &n)); printf("  %d\n", i);
	SHOW("send unconnected", send(u, "x", 1, MSG_NOSIGNAL));
	SHOW("accept on nothing", accept(-1, NULL, NULL));
	return 0;
}
