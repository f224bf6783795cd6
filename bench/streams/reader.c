/* The floor: reads the same streams with epoll, and looks for nothing but their end.
 *
 * usage: reader PORT STREAMS SECONDS [LAG]
 * Opens STREAMS connections evenly over SECONDS; prints how many streams ended whole and, if asked,
 * by how many ms the 99th percentile of events came later than they were sent, in the LAG seconds
 * once all were open. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char REQUEST[] =
    "POST /v1/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    "content-length: 2\r\n\r\n{}";

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static float *lags;
static size_t lag_count, lag_room;

/* Keeps how late each event in the data is. */
static void late(char *data, size_t size, int64_t opened_ns, int64_t over_ns) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    int64_t now = t.tv_sec * 1000000000LL + t.tv_nsec;
    char *end = data + size;
    for (char *at = data; (at = memchr(at, '@', (size_t)(end - at))); at++) {
        if (end - at < 20) return; /* cut by the read: the others tell */
        int64_t sent = 0;
        for (int i = 1; i <= 19; i++) sent = sent * 10 + at[i] - '0';
        if (sent < opened_ns || sent > over_ns) continue;
        if (lag_count == lag_room) {
            lag_room = lag_room ? 2 * lag_room : 65536;
            lags = realloc(lags, lag_room * sizeof *lags);
        }
        lags[lag_count++] = (float)((double)(now - sent) / 1e6);
    }
}

static int by_size(const void *one, const void *other) {
    float a = *(const float *)one, b = *(const float *)other;
    return (a > b) - (a < b);
}

int main(int argc, char **argv) {
    if (argc != 4 && argc != 5) return 2;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    to.sin_port = htons((uint16_t)atoi(argv[1]));
    int streams = atoi(argv[2]), opened = 0, closed = 0, whole = 0;
    double step = atof(argv[3]) / streams, start = now_s();
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    int64_t opened_ns = t.tv_sec * 1000000000LL + t.tv_nsec + (int64_t)(atof(argv[3]) * 1e9);
    int64_t over_ns = opened_ns + (argc == 5 ? (int64_t)(atof(argv[4]) * 1e9) : 0);
    int poll = epoll_create1(0);
    static char data[65536];
    struct epoll_event events[256];
    while (closed < streams) {
        int wait_ms = -1;
        while (opened < streams) {
            double left = start + step * opened - now_s();
            if (left > 0) {
                wait_ms = (int)(left * 1000) + 1;
                break;
            }
            int fd = socket(AF_INET, SOCK_STREAM, 0);
            if (connect(fd, (struct sockaddr *)&to, sizeof to)) {
                perror("connect");
                return 1;
            }
            if (send(fd, REQUEST, sizeof REQUEST - 1, 0) < 0) return 1;
            struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
            epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
            opened++;
        }
        int count = epoll_wait(poll, events, 256, wait_ms);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            ssize_t got = recv(fd, data, sizeof data, MSG_DONTWAIT);
            if (argc == 5 && got > 0) late(data, (size_t)got, opened_ns, over_ns);
            int end = got >= 5 && !memcmp(data + got - 5, "0\r\n\r\n", 5);
            if (end || got == 0) {
                whole += end;
                closed++;
                close(fd);
            }
        }
    }
    printf("%d\n", whole);
    if (argc == 5 && lag_count) {
        qsort(lags, lag_count, sizeof *lags, by_size);
        printf("%.3f\n", (double)lags[lag_count * 99 / 100]);
    }
    return 0;
}
