/* An enclave's application: prints its arguments, GREETING, /etc/motd of its own
 * root, which nodes it can use, its working directory and user; exits with 7. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static void opens(const char *path, int flags)
{
	int fd = open(path, flags, 0600);
	printf("%s: %s\n", path, fd >= 0 ? "open" : strerror(errno));
	close(fd);
}

int main(int argc, char **argv)
{
	char text[64] = "";
	struct stat found;
	for (int i = 1; i < argc; i++)
		printf("argument %s\n", argv[i]);
	printf("GREETING=%s\n", getenv("GREETING"));
	int motd = open("/etc/motd", O_RDONLY);
	if (motd < 0 || read(motd, text, sizeof text - 1) < 0)
		strcpy(text, "none\n");
	printf("motd %s", text);
	opens("/dev/nsm", O_RDWR);
	opens("/dev/null", O_RDWR);
	opens("/dev/urandom", O_RDONLY);
	opens("/dev/vsock", O_RDONLY);
	opens("/proc/self/status", O_RDONLY);
	opens("/tmp/mine", O_RDWR | O_CREAT);
	printf("stat /dev/nsm: %d\n", stat("/dev/nsm", &found));
	if (chdir("/dev") == 0)
		opens("nsm", O_RDWR);
	printf("AF_VSOCK: %s\n", socket(AF_VSOCK, SOCK_STREAM, 0) >= 0 ? "open" : strerror(errno));
	struct sockaddr_in low = { AF_INET, htons(1), { htonl(INADDR_LOOPBACK) } };
	int bound = bind(socket(AF_INET, SOCK_STREAM, 0), (void *)&low, sizeof low);
	printf("127.0.0.1:1: %s\n", bound == 0 ? "bound" : strerror(errno));
	struct sockaddr_in elsewhere = { AF_INET, htons(9), { htonl(0xC0000201) } };
	int sent = sendto(socket(AF_INET, SOCK_DGRAM, 0), "x", 1, 0, (void *)&elsewhere, sizeof elsewhere);
	printf("192.0.2.1: %s\n", sent == 1 ? "sent" : strerror(errno));
	printf("uid %d\n", getuid());
	return 7;
}
