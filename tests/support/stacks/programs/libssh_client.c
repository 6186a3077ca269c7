/* libssh as a program: HOST PORT USER KEY VERB ARGUMENT...
 * Owns no judgement; it carries its own streams to and from one channel and ends with the remote status. */
#include <fcntl.h>
#include <libssh/libssh.h>
#include <libssh/sftp.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char buffer[32768];

static void check(int good, ssh_session session, const char *what)
{
    if (!good) {
        fprintf(stderr, "%s: %s\n", what, ssh_get_error(session));
        exit(254);
    }
}

static void all(int fd, const char *data, int length)
{
    while (length > 0) {
        int wrote = write(fd, data, length);
        if (wrote <= 0)
            exit(254);
        data += wrote;
        length -= wrote;
    }
}

/* `in` into the channel with its end, the channel's bytes to `out`; until the channel has ended, and where both are
 * one socket, until that has ended too. */
static void relay(ssh_session session, ssh_channel channel, int in, int out)
{
    int reading = 1, ended = 0;
    while (!ended || (in == out && reading)) {
        struct pollfd waiting[2] = {{ssh_get_fd(session), POLLIN, 0}, {reading ? in : -1, POLLIN, 0}};
        int count;
        while ((count = ssh_channel_read_nonblocking(channel, buffer, sizeof buffer, 0)) > 0)
            all(out, buffer, count);
        check(count != SSH_ERROR, session, "read");
        if (!ended && ssh_channel_is_eof(channel)) {
            ended = 1;
            shutdown(out, SHUT_WR);
            continue;
        }
        poll(waiting, 2, 100);
        if (reading && waiting[1].revents) {
            count = read(in, buffer, sizeof buffer);
            if (count > 0) {
                check(ssh_channel_write(channel, buffer, count) == count, session, "write");
            } else {
                ssh_channel_send_eof(channel);
                reading = 0;
            }
        }
    }
}

static ssh_session connected(char **words)
{
    ssh_session session = ssh_new();
    ssh_key key;
    int port = atoi(words[1]), no = 0;
    ssh_options_set(session, SSH_OPTIONS_PROCESS_CONFIG, &no);
    ssh_options_set(session, SSH_OPTIONS_HOST, words[0]);
    ssh_options_set(session, SSH_OPTIONS_PORT, &port);
    ssh_options_set(session, SSH_OPTIONS_USER, words[2]);
    check(ssh_connect(session) == SSH_OK, session, "connect");
    check(ssh_pki_import_privkey_file(words[3], NULL, NULL, NULL, &key) == SSH_OK, session, "key");
    check(ssh_userauth_publickey(session, NULL, key) == SSH_AUTH_SUCCESS, session, "log in");
    ssh_key_free(key);
    return session;
}

static int command(ssh_session session, const char *text, int terminal)
{
    ssh_channel channel = ssh_channel_new(session);
    check(ssh_channel_open_session(channel) == SSH_OK, session, "session");
    if (terminal)
        check(ssh_channel_request_pty_size(channel, "xterm", 100, 30) == SSH_OK, session, "pty");
    check(ssh_channel_request_exec(channel, text) == SSH_OK, session, "exec");
    relay(session, channel, 0, 1);
    return ssh_channel_get_exit_status(channel);
}

static int tunnel(ssh_session session, int port)
{
    ssh_channel channel = ssh_channel_new(session);
    check(ssh_channel_open_forward(channel, "127.0.0.1", port, "127.0.0.1", 0) == SSH_OK, session, "forward");
    relay(session, channel, 0, 1);
    return 0;
}

static int back(ssh_session session, int there, int here)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(here)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    check(ssh_channel_listen_forward(session, "127.0.0.1", there, NULL) == SSH_OK, session, "listen");
    while (ssh_is_connected(session)) {
        ssh_channel channel = ssh_channel_accept_forward(session, 1000, NULL);
        if (!channel)
            continue;
        int sock = socket(AF_INET, SOCK_STREAM, 0);
        check(connect(sock, (struct sockaddr *)&address, sizeof address) == 0, session, "dial");
        relay(session, channel, sock, sock);
        close(sock);
        ssh_channel_free(channel);
    }
    return 0;
}

static int file(ssh_session session, const char *local, const char *remote, int up)
{
    sftp_session sftp = sftp_new(session);
    check(sftp && sftp_init(sftp) == SSH_OK, session, "sftp");
    sftp_file there = sftp_open(sftp, remote, up ? O_WRONLY | O_CREAT | O_TRUNC : O_RDONLY, 0644);
    int here = open(local, up ? O_RDONLY : O_WRONLY | O_CREAT | O_TRUNC, 0644), count;
    check(there && here >= 0, session, "open");
    if (up) {
        while ((count = read(here, buffer, sizeof buffer)) > 0)
            check(sftp_write(there, buffer, count) == count, session, "write");
    } else {
        while ((count = sftp_read(there, buffer, sizeof buffer)) > 0)
            all(here, buffer, count);
    }
    check(count == 0 && sftp_close(there) == SSH_OK, session, "copy");
    return 0;
}

int main(int count, char **words)
{
    if (count < 7)
        return 254;
    ssh_session session = connected(words + 1);
    const char *verb = words[5];
    int status = 254;
    if (!strcmp(verb, "run") || !strcmp(verb, "terminal"))
        status = command(session, words[6], verb[0] == 't');
    else if (!strcmp(verb, "tunnel"))
        status = tunnel(session, atoi(words[6]));
    else if (!strcmp(verb, "back") && count > 7)
        status = back(session, atoi(words[6]), atoi(words[7]));
    else if (!strcmp(verb, "put") && count > 7)
        status = file(session, words[6], words[7], 1);
    else if (!strcmp(verb, "get") && count > 7)
        status = file(session, words[7], words[6], 0);
    ssh_disconnect(session);
    return status;
}
