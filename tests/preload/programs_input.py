# SPDX-License-Identifier: MIT
"""What the programs of run_preload.py are given to do. All of it is deterministic."""

REDIS_COMMANDS = "".join(
    f"set key{i} {'v' * (i % 700)}\nhset hash{i % 50} field{i} {i}\nrpush list{i % 20} item{i}\n"
    f"zadd scores {i * 7919 % 10007} member{i}\nsadd set{i % 30} {i}\nappend log {'x' * (i % 90)}\n"
    for i in range(4000)
) + """eval "local s = '' for i = 1, 20000 do s = tostring(i) .. s:sub(1, 500) end return s" 0
lrange list3 0 -1
zrange scores 100 400
sort set7
object encoding log
strlen log
dbsize
"""

# Rows of about 190 bytes and two indexes: more than 200 MB.
SQLITE_SOURCE = """
PRAGMA journal_mode = off; PRAGMA synchronous = off; PRAGMA cache_size = -20000;
PRAGMA temp_store = memory;
CREATE TABLE item (id INTEGER PRIMARY KEY, part INTEGER, name TEXT, body TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1050000)
INSERT INTO item SELECT i, (i * 48271) % 9973, printf('name-%08d', (i * 7919) % 1000003),
    printf('%.*c', 100 + i % 80, char(97 + i % 26)) FROM n;
CREATE INDEX item_part ON item (part);
CREATE INDEX item_name ON item (name);
SELECT count(*), sum(length(body)), max(name) FROM item;
SELECT part, count(*), group_concat(id % 100) FROM item WHERE part < 10 GROUP BY part;
SELECT substr(body, 1, 1) AS c, count(DISTINCT part) FROM item WHERE id % 5 = 0 GROUP BY c;
SELECT name, part FROM item ORDER BY body, name LIMIT 20;
UPDATE item SET body = upper(body) || 'x' WHERE part BETWEEN 100 AND 200;
DELETE FROM item WHERE part BETWEEN 300 AND 350;
SELECT count(*), total(length(body)) FROM item;
SELECT count(*) FROM item a JOIN item b ON b.name = 'name-' || printf('%08d', a.id) WHERE a.id < 50000;
PRAGMA quick_check;
"""

PERL_SOURCE = r"""
use strict; use warnings; use List::Util qw(sum); use Digest::MD5 qw(md5_hex);
my %words; my $seed = 1;
sub next_number { $seed = ($seed * 1103515245 + 12345) % 2147483648; return $seed >> 8 }
for my $i (1 .. 300_000) { $words{'w' . next_number() % 50_000}{$i % 7} .= chr(65 + $i % 26) }
print scalar(keys %words), "\n";
my @sorted = sort { length($words{$b}{3} // '') <=> length($words{$a}{3} // '') || $a cmp $b } keys %words;
print join(',', @sorted[0 .. 50]), "\n";
my $text = join ' ', map { "$_=" . join('', map { $_ // '' } @{$words{$_}}{0 .. 6}) } sort keys %words;
my $count = () = $text =~ /w(\d+)=([A-Z]*?)([AEIOU]+)/g;
(my $copy = $text) =~ s/([A-Z])\1/<$1>/g;
print "$count ", md5_hex($copy), "\n";
my @rows = map { [map { next_number() % 1000 } 1 .. 50] } 1 .. 5000;
print sum(map { @$_ } @rows), "\n";
my $deep = []; $deep = [$deep, $_] for 1 .. 100_000; undef $deep;
print md5_hex(join '', map { sprintf '%08x', $_ } map { @$_ } @rows), "\n";
print md5_hex('a' x 50_000_000), "\n";
if (my $pid = fork) { waitpid $pid, 0; print "child $?\n" } else { undef %words; exit 3 }
"""

RUBY_SOURCE = r"""
require 'digest'; require 'json'; require 'set'
seed = 1
nextn = -> { seed = (seed * 1103515245 + 12345) % 2147483648; seed >> 8 }
words = Hash.new { |h, k| h[k] = [] }
200_000.times { |i| words["w#{nextn.call % 20_000}"] << i.to_s(36) }
puts words.size, Digest::MD5.hexdigest(words.sort.map { |k, v| k + v.join(',') }.join)
text = JSON.generate(words)
puts text.size, Digest::SHA256.hexdigest(JSON.generate(JSON.parse(text).sort.to_h))
threads = 8.times.map { |t| Thread.new { (1..20_000).map { |i| (i * t).to_s.reverse }.uniq.size } }
puts threads.map(&:value).inspect
fibers = 500.times.map { |i| Fiber.new { Fiber.yield "a" * i; "b" * i } }
puts fibers.sum { |f| f.resume.size + f.resume.size }
GC.start
GC.compact if GC.respond_to?(:compact)
puts (1..300).reduce(:*).to_s.size, Digest::MD5.hexdigest((2**20000).to_s)
GC.stress = true
puts (1..12).map { |i| "x" * i }.join.gsub(/x{7}/) { |m| m.upcase }.size
GC.stress = false
puts Digest::MD5.hexdigest(("abc" * 10_000_000).tr('a-c', 'd-f'))
"""


def git_import():
    """A stream for fast-import: 250 commits that change 30 files of some 400 lines."""
    files = {f: [f"file {f} line {i} of the beginning" for i in range(400)] for f in range(30)}
    parts = []
    seed = 1
    for commit in range(250):
        changed = set(range(30)) if commit == 0 else set()
        for _ in range(0 if commit == 0 else 40):
            seed = (seed * 1103515245 + 12345) % 2147483648
            f = (seed >> 8) % 30
            line = (seed >> 16) % 400
            files[f][line] = f"commit {commit} changed line {line}: {seed:x}"
            changed.add(f)
        message = f"commit {commit}"
        parts.append(f"commit refs/heads/main\ncommitter A <a@example.org> {1600000000 + commit} "
                     f"+0000\ndata {len(message)}\n{message}\n")
        for f in sorted(changed):
            text = "\n".join(files[f]) + "\n"
            parts.append(f"M 100644 inline file{f}.txt\ndata {len(text)}\n{text}\n")
    return "".join(parts)


GIT_IMPORT = git_import()


def c_source():
    parts = ["#include <stdio.h>\n#include <string.h>\n"]
    for i in range(700):
        parts.append(f"""
struct record{i} {{ int a, b; double c[{i % 9 + 1}]; char name[{i % 50 + 8}]; }};
static int work{i}(struct record{i} *r, int n)
{{
    int total = {i};
    for (int j = 0; j < n; j++) {{
        r->a = total * {i % 17 + 3} + j; r->b ^= r->a >> {i % 7};
        r->c[j % {i % 9 + 1}] += r->b * 0.{i + 1};
        switch ((r->a ^ j) % {i % 11 + 3}) {{
        case 0: total += r->b; break;
        case 1: total -= (int)r->c[0]; break;
        case 2: snprintf(r->name, sizeof r->name, "%d", total); total += (int)strlen(r->name); break;
        default: total = total * 31 + j; break;
        }}
    }}
    return total;
}}
""")
    parts.append("int main(int argc, char **argv)\n{\n    int sum = 0;\n    (void)argv;\n")
    for i in range(700):
        parts.append(f"    {{ struct record{i} r; memset(&r, 0, sizeof r); sum += work{i}(&r, argc); }}\n")
    parts.append('    printf("%d\\n", sum);\n    return 0;\n}\n')
    return "".join(parts)


C_SOURCE = c_source()

NODE_SOURCE = r"""
const crypto = require('crypto'), zlib = require('zlib');
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
const md5 = (d) => crypto.createHash('md5').update(d).digest('hex');
function work(seed) {
    const rows = [];
    for (let i = 0; i < 60000; i++) {
        seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff;
        rows.push({ id: i, name: 'n' + (seed >> 8) % 5000, tags: ['a', String(seed % 97)] });
    }
    rows.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : a.id - b.id));
    const text = JSON.stringify(rows);
    const buffers = [];
    for (let i = 0; i < 3000; i++) buffers.push(Buffer.alloc((i * 37) % 20000, i % 256));
    const packed = zlib.gzipSync(text, { level: 6 });
    if (zlib.gunzipSync(packed).toString() !== text) throw new Error('zlib');
    return [md5(text), md5(Buffer.concat(buffers)), JSON.parse(text).length].join(' ');
}
if (isMainThread) {
    console.log(work(1));
    const results = [];
    for (let t = 0; t < 4; t++) {
        const worker = new Worker(__filename, { workerData: t + 2 });
        worker.on('message', (m) => { results[t] = m; });
        worker.on('exit', () => {
            if (results.filter(Boolean).length === 4 && !results.done) {
                results.done = true;
                results.forEach((r) => console.log(r));
            }
        });
    }
    zlib.brotliCompress(Buffer.alloc(1 << 20, 'text '), { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 5 } },
        (e, d) => zlib.brotliDecompress(d, (e2, back) => { results.brotli = md5(back); }));
    process.on('exit', () => console.log(results.brotli));
} else parentPort.postMessage(work(workerData));
"""

JAVA_SOURCE = r"""
import java.nio.ByteBuffer;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.LongAdder;
import java.util.stream.*;
import java.util.zip.*;

public class Main {
    static long work(int seed) {
        Random random = new Random(seed);
        Map<String, List<Integer>> map = new TreeMap<>();
        for (int i = 0; i < 100000; i++)
            map.computeIfAbsent("k" + random.nextInt(3000), k -> new ArrayList<>()).add(i);
        long sum = 0;
        for (var e : map.entrySet())
            sum = sum * 31 + e.getKey().hashCode() + e.getValue().stream().mapToLong(x -> x).sum();
        return sum;
    }

    // Memory that is not of the garbage-collected heap: direct buffers, zlib, many threads.
    static long outside(int seed) throws Exception {
        byte[] data = new byte[1 << 18];
        new Random(seed).nextBytes(data);
        for (int i = 0; i < data.length; i++) data[i] &= 15;
        long sum = 0;
        for (int i = 0; i < 20; i++) {
            ByteBuffer direct = ByteBuffer.allocateDirect(100000 + i * 1000);
            direct.put(data, 0, 100000);
            Deflater deflater = new Deflater(i % 9 + 1);
            deflater.setInput(data);
            deflater.finish();
            byte[] packed = new byte[data.length * 2];
            int packedBytes = deflater.deflate(packed);
            deflater.end();
            Inflater inflater = new Inflater();
            inflater.setInput(packed, 0, packedBytes);
            byte[] back = new byte[data.length];
            if (inflater.inflate(back) != data.length || !Arrays.equals(back, data)) throw new Exception("zlib");
            inflater.end();
            sum = sum * 31 + direct.get(i * 1000) + Arrays.hashCode(back);
        }
        return sum;
    }

    public static void main(String[] arguments) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(6);
        List<Future<Long>> results = new ArrayList<>();
        for (int i = 0; i < 24; i++) {
            int seed = i;
            results.add(pool.submit(() -> seed % 2 == 0 ? work(seed) : outside(seed)));
        }
        for (Future<Long> result : results) System.out.println(result.get());
        pool.shutdown();
        LongAdder sum = new LongAdder();
        for (int i = 0; i < 300; i++) {
            int seed = i;
            Thread thread = new Thread(() -> sum.add(new Random(seed).nextInt(1000)));
            thread.start();
            thread.join();
        }
        System.out.println(sum.sum());
    }
}
"""

GS_SOURCE = r"""%!PS
/Helvetica findfont 24 scalefont setfont
1 1 6 { /page exch def
  0 1 2500 { /i exch def
    i 17 mul 255 mod 255 div i 31 mul 255 mod 255 div i 47 mul 255 mod 255 div setrgbcolor
    newpath i 37 mul 612 mod i 53 mul 792 mod moveto
    i 71 mul 612 mod i 29 mul 792 mod i 13 mul 612 mod i 91 mul 792 mod i 7 mul 612 mod i 3 mul 792 mod curveto
    i 5 mod 0 eq { closepath fill } { i 4 mod 1 add setlinewidth stroke } ifelse
  } for
  0 setgray 72 72 moveto (Page ) show page 10 string cvs show
  /a 20000 array def 0 1 19999 { a exch dup 10 string cvs put } for
  /d 5000 dict def 0 1 4999 { d exch dup 100 string cvs cvn exch put } for
  showpage } for
"""
