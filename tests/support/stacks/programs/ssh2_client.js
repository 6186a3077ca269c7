// ssh2 of npm as a program: HOST PORT USER KEY VERB ARGUMENT...
// Owns no judgement; it carries its own streams to and from one channel and ends with the remote status.
'use strict';

const { readFileSync } = require('node:fs');
const { connect } = require('node:net');
const { Client } = require('ssh2');

const [host, port, username, key, verb, ...words] = process.argv.slice(2);
const client = new Client();

function fail(error) {
  if (error) {
    console.error(String(error));
    process.exit(254);
  }
}

function relay(stream) {
  process.stdin.pipe(stream);
  stream.pipe(process.stdout);
  let status = 0;
  stream.on('exit', (code) => { status = code ?? 255; });
  stream.on('close', () => { process.exitCode = status; process.stdin.destroy(); client.end(); });
}

function command(options) {
  client.exec(words[0], options, (error, stream) => {
    fail(error);
    stream.stderr.pipe(process.stderr);
    relay(stream);
  });
}

function files(method) {
  client.sftp((error, sftp) => {
    fail(error);
    sftp[method](words[0], words[1], (failure) => { fail(failure); client.end(); });
  });
}

function answer(details, accept) {
  const channel = accept();
  const sock = connect({ host: '127.0.0.1', port: Number(words[1]), allowHalfOpen: true });
  channel.pipe(sock);
  sock.pipe(channel);
}

const verbs = {
  run: () => command({}),
  agent: () => command({}),
  terminal: () => command({ pty: { term: 'xterm', cols: 100, rows: 30 } }),
  put: () => files('fastPut'),
  get: () => files('fastGet'),
  tunnel: () => client.forwardOut('127.0.0.1', 0, '127.0.0.1', Number(words[0]), (error, stream) => {
    fail(error);
    relay(stream);
  }),
  // Refused by ssh2 itself unless the server's name is OpenSSH's, as long as nobody tells it not to be strict.
  socket: () => client.openssh_forwardOutStreamLocal(words[0], (error, stream) => {
    fail(error);
    relay(stream);
  }),
  back: () => client.on('tcp connection', answer).forwardIn('127.0.0.1', Number(words[0]), fail),
};

client.on('ready', verbs[verb]).on('error', fail);
const agent = verb === 'agent' ? { agent: process.env.SSH_AUTH_SOCK, agentForward: true } : {};
client.connect({ host, port: Number(port), username, privateKey: readFileSync(key), ...agent });
