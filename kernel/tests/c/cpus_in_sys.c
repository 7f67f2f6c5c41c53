// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: thread_siblings of CPU 0: 1, 0
// /sys/devices/system/cpu: which CPUs there are, as C libraries and run-time systems ask for it.
#define _GNU_SOURCE
#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FOLDER "/sys/devices/system/cpu/"

static char text[4096];

static char *slurp(const char *path)
{
	FILE *file = fopen(path, "r");

	text[0] = 0;
	if (!file || !fgets(text, sizeof(text), file))
		strcpy(text, file ? "" : "(missing)");
	if (file)
		fclose(file);
	text[strcspn(text, "\n")] = 0;
	return text;
}

int main(void)
{
	static const char *const files[] = { "online", "possible", "present" };
	long count = sysconf(_SC_NPROCESSORS_ONLN);
	char path[128];

	printf("%ld configured, %ld online\n", sysconf(_SC_NPROCESSORS_CONF), count);
	for (int i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), FOLDER "%s", files[i]);
		printf("%s: %s\n", files[i], slurp(path));
	}
	printf("most: %d\n", atoi(slurp(FOLDER "kernel_max")) >= count - 1);
	int found = 0;
	DIR *folder = opendir(FOLDER);
	for (struct dirent *entry; folder && (entry = readdir(folder));)
		found += !strncmp(entry->d_name, "cpu", 3) && entry->d_name[3] >= '0' && entry->d_name[3] <= '9';
	printf("folders: %d\n", found);
	for (int cpu = 0; cpu < count; cpu++) {
		snprintf(path, sizeof(path), FOLDER "cpu%d/topology/thread_siblings", cpu);
		printf("thread_siblings of CPU %d: %s, ", cpu, slurp(path));
		strcat(path, "_list");
		printf("%s\n", slurp(path));
		snprintf(path, sizeof(path), FOLDER "cpu%d/topology/core_id", cpu);
		printf("core_id: %d\n", strcmp(slurp(path), "(missing)") != 0);
	}
	return 0;
}
