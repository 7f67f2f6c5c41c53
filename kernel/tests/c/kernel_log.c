// SPDX-License-Identifier: MIT OR Apache-2.0
// The kernel's log: syslog(2), which dmesg calls, and /dev/kmsg.
// On Linux it prints: in the log as <13>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <unistd.h>

static char text[1 << 20];

static void result(const char *what, long value)
{
	printf("%s %s\n", what, value < 0 ? strerror(errno) : value == 0 ? "0" : "more than 0");
}

int main(void)
{
	int fd = open("/dev/kmsg", O_RDWR | O_NONBLOCK);
	result("open", fd + 1);
	result("end", lseek(fd, 0, SEEK_END));
	result("nothing new", read(fd, text, sizeof text));
	struct pollfd ask = { .fd = fd, .events = POLLIN };
	result("poll", poll(&ask, 1, 0));
	result("write", write(fd, "<5>marker one\n", 14));
	result("poll again", poll(&ask, 1, 1000));
	result("small buffer", read(fd, text, 5));
	lseek(fd, 0, SEEK_END);
	write(fd, "marker two\n", 11);
	long length = read(fd, text, sizeof text - 1);
	text[length > 0 ? length : 0] = 0;
	char *body = strchr(text, ';');
	printf("priority %d, text %s", atoi(text), body ? body + 1 : "none\n");
	result("seek to the middle", lseek(fd, 5, SEEK_SET));
	result("seek by a number", lseek(fd, 0, 77));

	result("size", klogctl(10, NULL, 0));
	result("open", klogctl(1, NULL, 0));
	length = klogctl(3, text, sizeof text - 1);
	text[length > 0 ? length : 0] = 0;
	char *line = strstr(text, "marker one");
	while (line && line > text && line[-1] != '\n')
		line--;
	printf("in the log as %.4s\n", line ? line : "nothing");
	length = klogctl(3, text, 100);
	printf("last 100 bytes: %s\n", length > 0 && length <= 100 && text[0] == '<' && text[length - 1] == '\n' ? "whole lines" : "no");
	result("no buffer", klogctl(3, NULL, 100));
	result("negative", klogctl(3, text, -1));
	result("zero", klogctl(3, text, 0));
	result("level 0", klogctl(8, NULL, 0));
	result("level 9", klogctl(8, NULL, 9));
	result("level 7", klogctl(8, NULL, 7));
	result("unknown", klogctl(11, NULL, 0));
	result("clear", klogctl(5, NULL, 0));
	length = klogctl(3, text, sizeof text - 1);
	text[length > 0 ? length : 0] = 0;
	printf("after clear: marker %s\n", strstr(text, "marker one") ? "there" : "gone");
	return 0;
}
