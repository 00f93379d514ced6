/**
 * Ends processes whose parent was killed, where the kernel cannot (no `setpriv --pdeathsig`). Its stdin is a pipe from the parent, on
 * which lines "+PID" and "-PID" tell which children run; the pipe's end means that the parent is gone.
 */
/** @type {Set<number>} */
const children = new Set();
let rest = '';
process.stdin.setEncoding('utf8');
process.stdin.on('data', (text) => {
  const lines = (rest + text).split('\n');
  rest = lines.pop() ?? '';
  for (const line of lines) {
    const pid = Number(line.slice(1));
    if (line.startsWith('+')) children.add(pid);
    else children.delete(pid);
  }
});
process.stdin.on('close', () => {
  for (const pid of children) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It ended by itself.
    }
  }
  process.exit(0);
});
