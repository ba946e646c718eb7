/* Preloaded into a load generator: each connection to loopback comes from another address of it.
 *
 * The n-th connection of a process is bound to 127.0.(n mod 256).(1 + n / 256 mod 254), so that
 * 256 connections come from as many networks of 256 addresses. Errors are those of connect.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <sys/socket.h>

static atomic_uint count;

int connect(int fd, const struct sockaddr *to, socklen_t length)
{
    int (*next)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "connect");
    const struct sockaddr_in *there = (const struct sockaddr_in *)to;
    if (to->sa_family == AF_INET && (ntohl(there->sin_addr.s_addr) >> 24) == 127) {
        unsigned n = atomic_fetch_add(&count, 1);
        struct sockaddr_in from = {.sin_family = AF_INET};
        from.sin_addr.s_addr = htonl(127u << 24 | (n & 255) << 8 | (1 + (n >> 8) % 254));
        int yes = 1;
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
        if (bind(fd, (const struct sockaddr *)&from, sizeof from) != 0)
            return -1;
    }
    return next(fd, to, length);
}
