/* Streams of server-sent events at a fixed pace, as vLLM sends them, so cheap to make that the
 * client under test is never the one that waits. The id in each event ends with when it was sent: "@"
 * and 19 digits, nanoseconds since the epoch.
 *
 * usage: source STREAMS TOKENS INTERVAL_US
 * Prints its port, serves STREAMS connections on loopback, then prints how late it was at worst. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

struct conn {
    int fd;
    int left; /* tokens still to send */
    int64_t due;
};

static const char HEAD[] =
    "HTTP/1.1 200 OK\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\nserver: uvicorn\r\n"
    "content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";
#define ID "{\"id\":\"cmpl-4f1c2b6a9d3e-@0000000000000000000\",\"object\":\"text_completion\"," \
    "\"created\":1767225600,\"model\":\"tiny\",\"choices\":["
#define CHOICE(reason) "data: " ID "{\"index\":0,\"text\":\" lighthouse\",\"logprobs\":null," \
    "\"finish_reason\":" reason ",\"stop_reason\":null}],\"usage\":null}\n\n"
static const char TOKEN[] = CHOICE("null");
static const char LAST[] = CHOICE("\"length\"");

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* Writes the time over the 19 digits at `to`. */
static void stamp(char *to) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    int64_t ns = t.tv_sec * 1000000000LL + t.tv_nsec;
    for (int i = 18; i >= 0; i--, ns /= 10) to[i] = (char)('0' + ns % 10);
}

static void put(int fd, const char *bytes, size_t size) {
    if (send(fd, bytes, size, MSG_NOSIGNAL) != (ssize_t)size) fail("the client does not keep up");
}

static size_t chunk(char *to, const char *body) {
    return (size_t)sprintf(to, "%zx\r\n%s\r\n", strlen(body), body);
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    int streams = atoi(argv[1]), tokens = atoi(argv[2]);
    int64_t interval = atoll(argv[3]) * 1000;
    char token[1024], end[4096], body[1024];
    size_t token_size = chunk(token, TOKEN), end_size = chunk(end, LAST);
    char *token_stamp = strchr(token, '@') + 1, *end_stamp = strchr(end, '@') + 1;
    sprintf(body, "data: " ID "],\"usage\":{\"prompt_tokens\":9,\"total_tokens\":%d,"
            "\"completion_tokens\":%d}}\n\n", tokens + 9, tokens);
    end_size += chunk(end + end_size, body);
    end_size += chunk(end + end_size, "data: [DONE]\n\n");
    end_size += (size_t)sprintf(end + end_size, "0\r\n\r\n");

    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t at_size = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(listener, (struct sockaddr *)&at, at_size) || listen(listener, 4096)) fail("listen");
    getsockname(listener, (struct sockaddr *)&at, &at_size);
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);

    int poll = epoll_create1(0), timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct conn *all = calloc((size_t)streams, sizeof *all), **ring = calloc((size_t)streams + 1, sizeof *ring);
    int accepted = 0, closed = 0, first = 0, waiting = 0;
    int64_t worst = 0;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &listener};
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    event.data.ptr = &timer;
    epoll_ctl(poll, EPOLL_CTL_ADD, timer, &event);
    struct epoll_event events[256];
    char request[65536];
    while (closed < streams) {
        int count = epoll_wait(poll, events, 256, -1);
        if (count < 0 && errno != EINTR) fail("epoll_wait");
        for (int i = 0; i < count; i++) {
            void *what = events[i].data.ptr;
            if (what == &timer) {
                uint64_t ticks;
                if (read(timer, &ticks, sizeof ticks) < 0 && errno != EAGAIN) fail("timer");
            } else if (what == &listener) {
                int fd;
                while (accepted < streams && (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    int on = 1;
                    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                    struct conn *c = &all[accepted++];
                    *c = (struct conn){.fd = fd, .left = -1};
                    event.data.ptr = c;
                    epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
                }
            } else {
                struct conn *c = what;
                ssize_t got = recv(c->fd, request, sizeof request, 0);
                if (got <= 0) {
                    if (c->left) {
                        fprintf(stderr, "the client closed a stream early\n");
                        return 1;
                    }
                    close(c->fd);
                    closed++;
                } else if (c->left < 0 && memmem(request, (size_t)got, "\r\n\r\n", 4)) {
                    /* All wait equally long for their next token, so the ring stays in order. */
                    put(c->fd, HEAD, sizeof HEAD - 1);
                    c->left = tokens;
                    c->due = now_ns() + interval;
                    ring[(first + waiting++) % streams] = c;
                }
            }
        }
        int64_t now = now_ns();
        while (waiting && ring[first]->due <= now) {
            struct conn *c = ring[first];
            first = (first + 1) % streams;
            waiting--;
            if (now - c->due > worst) worst = now - c->due;
            c->left--;
            stamp(c->left ? token_stamp : end_stamp);
            put(c->fd, c->left ? token : end, c->left ? token_size : end_size);
            if (c->left) {
                c->due += interval;
                ring[(first + waiting++) % streams] = c;
            }
        }
        struct itimerspec next = {0};
        if (waiting) {
            next.it_value.tv_sec = ring[first]->due / 1000000000LL;
            next.it_value.tv_nsec = ring[first]->due % 1000000000LL;
        }
        timerfd_settime(timer, TFD_TIMER_ABSTIME, &next, NULL);
    }
    printf("%.3f\n", (double)worst / 1e6);
    return 0;
}
