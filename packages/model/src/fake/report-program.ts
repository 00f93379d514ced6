/** The small programs that the default job writes: the same report in the first language that the sandbox has. */
export interface ReportProgram {
  file: string;
  command: string;
  source: string;
}

export const REPORT_FILE = 'workspace-report.json';
/** There are 9592 primes below this: a number that shows that the program really ran. */
const PRIMES_BELOW = 100_000;

const NODE: ReportProgram = {
  file: 'workspace-report.mjs',
  command: 'node workspace-report.mjs',
  source: `// Measures the directory it runs in, and counts primes to show that it computes.
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';

const report = { files: 0, lines: 0, bytes: 0, largest: null };
function visit(directory) {
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    if (entry.name === '.git' || entry.name === 'node_modules') continue;
    const file = path.join(directory, entry.name);
    if (entry.isDirectory()) visit(file);
    else if (entry.isFile() && entry.name !== '${REPORT_FILE}') {
      const { size } = statSync(file);
      report.files += 1;
      report.bytes += size;
      if (size < 1_000_000) report.lines += readFileSync(file, 'utf8').split('\\n').length - 1;
      if (!report.largest || size > report.largest.bytes) report.largest = { path: file, bytes: size };
    }
  }
}
visit('.');

const limit = ${PRIMES_BELOW};
const composite = new Uint8Array(limit);
let primes = 0;
for (let n = 2; n < limit; n++) {
  if (composite[n]) continue;
  primes += 1;
  for (let multiple = n * n; multiple < limit; multiple += n) composite[multiple] = 1;
}

writeFileSync('${REPORT_FILE}', JSON.stringify({ ...report, primes }, null, 2) + '\\n');
console.log(\`files: \${report.files}, lines: \${report.lines}, bytes: \${report.bytes}\`);
console.log(\`largest: \${report.largest ? \`\${report.largest.path} (\${report.largest.bytes} bytes)\` : 'none'}\`);
console.log(\`primes below \${limit}: \${primes}\`);
console.log(\`sha256 of this program: \${createHash('sha256').update(readFileSync(process.argv[1])).digest('hex').slice(0, 16)}\`);
`,
};

const PYTHON: ReportProgram = {
  file: 'workspace_report.py',
  command: 'python3 workspace_report.py',
  source: `# Measures the directory it runs in, and counts primes to show that it computes.
import hashlib, json, os, sys

files = lines = size = 0
largest = None
for folder, folders, names in os.walk("."):
    folders[:] = [name for name in folders if name not in (".git", "node_modules")]
    for name in names:
        path = os.path.join(folder, name)
        if name == "${REPORT_FILE}" or not os.path.isfile(path):
            continue
        count = os.path.getsize(path)
        files += 1
        size += count
        if count < 1_000_000:
            lines += open(path, "rb").read().count(b"\\n")
        if largest is None or count > largest[1]:
            largest = (path, count)

limit = ${PRIMES_BELOW}
sieve = bytearray([1]) * limit
primes = 0
for n in range(2, limit):
    if sieve[n]:
        primes += 1
        for multiple in range(n * n, limit, n):
            sieve[multiple] = 0

with open("${REPORT_FILE}", "w") as out:
    json.dump({"files": files, "lines": lines, "bytes": size, "largest": largest, "primes": primes}, out, indent=2)
print(f"files: {files}, lines: {lines}, bytes: {size}")
print(f"largest: {largest[0]} ({largest[1]} bytes)" if largest else "largest: none")
print(f"primes below {limit}: {primes}")
print("sha256 of this program: " + hashlib.sha256(open(sys.argv[0], "rb").read()).hexdigest()[:16])
`,
};

const SHELL: ReportProgram = {
  file: 'workspace-report.sh',
  command: 'bash workspace-report.sh',
  source: `# Measures the directory it runs in, and counts primes to show that it computes.
shopt -s globstar nullglob dotglob
files=0 lines=0 bytes=0
for file in **/*; do
  case "$file" in .git/*|*/.git/*|node_modules/*|*/node_modules/*|${REPORT_FILE}) continue ;; esac
  [ -f "$file" ] || continue
  files=$((files + 1))
  lines=$((lines + $(wc -l < "$file")))
  bytes=$((bytes + $(wc -c < "$file")))
done
limit=1000 primes=0
for ((n = 2; n < limit; n++)); do
  prime=1
  for ((d = 2; d * d <= n; d++)); do
    if ((n % d == 0)); then prime=0; break; fi
  done
  primes=$((primes + prime))
done
printf '{"files": %d, "lines": %d, "bytes": %d, "primes": %d}\\n' "$files" "$lines" "$bytes" "$primes" > ${REPORT_FILE}
echo "files: $files, lines: $lines, bytes: $bytes"
echo "primes below $limit: $primes"
`,
};

export const reportPrograms: readonly ReportProgram[] = [NODE, PYTHON, SHELL];

/** The program for a sandbox, by the paths that `command -v` printed there. */
export function reportProgram(found: string): ReportProgram {
  if (/\/node$/m.test(found)) return NODE;
  return /\/python3$/m.test(found) ? PYTHON : SHELL;
}
