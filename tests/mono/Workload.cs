// SPDX-License-Identifier: MIT
//
// What the Mono host runs: every part of the runtime that lives on malloc, from many threads at
// once. Each task checks its own results; the exit code is the number of tasks that went wrong.
//
//   Workload.exe THREADS ROUNDS     THREADS threads in all, a few dozen at a time
using System;
using System.Collections.Generic;
using System.Linq.Expressions;
using System.Reflection;
using System.Reflection.Emit;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.RegularExpressions;
using System.Threading;

public static class Workload
{
    const int AtOnce = 48;
    static int failures;
    static int finished;

    delegate bool Job(int seed, int rounds);

    static readonly Job[] jobs = {
        NativeBlocks, NativeStrings, LibcStrings, Callbacks, Exceptions, Inspection, Emission,
        Patterns, Collections, Threads, Locks, Handles,
    };

    public static int Main(string[] arguments)
    {
        int threads = int.Parse(arguments[0]);
        int rounds = int.Parse(arguments[1]);
        var domains = new Thread(() => Guarded("domains", () => Domains(rounds)));
        domains.Start();
        var gate = new Semaphore(AtOnce, AtOnce);
        var all = new List<Thread>();
        for (int i = 0; i < threads; i++) {
            int seed = i;
            gate.WaitOne();
            var thread = new Thread(() => {
                Job job = jobs[seed % jobs.Length];
                Guarded(job.Method.Name, () => job(seed, rounds));
                gate.Release();
            }, 256 * 1024);
            thread.Start();
            all.Add(thread);
        }
        foreach (Thread thread in all)
            thread.Join();
        domains.Join();
        if (finished != threads + 1) {
            Console.Error.WriteLine("{0} of {1} tasks finished", finished, threads + 1);
            failures++;
        }
        Console.WriteLine("workload: {0} tasks, {1} failed, {2} collections", finished, failures,
                          GC.CollectionCount(0));
        return failures;
    }

    static void Guarded(string name, Func<bool> body)
    {
        try {
            if (!body())
                throw new Exception("wrong result");
        } catch (Exception exception) {
            Interlocked.Increment(ref failures);
            Console.Error.WriteLine("{0}: {1}", name, exception);
        }
        Interlocked.Increment(ref finished);
    }

    // ---- Native memory by the runtime's own calls ----------------------------------------------

    static bool NativeBlocks(int seed, int rounds)
    {
        var random = new Random(seed);
        var blocks = new IntPtr[64];
        for (int i = 0; i < rounds * 40; i++) {
            int slot = random.Next(blocks.Length);
            if (blocks[slot] != IntPtr.Zero) {
                if (Marshal.ReadInt32(blocks[slot]) != slot)
                    return false;
                if (i % 5 == 0) {
                    int size = 8 + random.Next(3000);
                    blocks[slot] = Marshal.ReAllocHGlobal(blocks[slot], (IntPtr)size);
                    if (Marshal.ReadInt32(blocks[slot]) != slot)
                        return false;
                    continue;
                }
                Marshal.FreeHGlobal(blocks[slot]);
            }
            blocks[slot] = Marshal.AllocHGlobal(8 + random.Next(i % 100 == 0 ? 100000 : 500));
            Marshal.WriteInt32(blocks[slot], slot);
        }
        foreach (IntPtr block in blocks)
            Marshal.FreeHGlobal(block);
        return true;
    }

    [DllImport("libc")]
    static extern UIntPtr strlen(string text);

    [DllImport("libc", CharSet = CharSet.Ansi)]
    static extern int snprintf(StringBuilder text, UIntPtr size, string format, string argument);

    static bool NativeStrings(int seed, int rounds)
    {
        for (int i = 0; i < rounds * 25; i++) {
            string text = new string('x', i % 200) + seed;
            if ((int)strlen(text) != text.Length)
                return false;
            IntPtr native = Marshal.StringToHGlobalAnsi(text);
            bool same = Marshal.PtrToStringAnsi(native) == text;
            Marshal.FreeHGlobal(native);
            native = Marshal.StringToCoTaskMemUni(text);
            same = same && Marshal.PtrToStringUni(native) == text;
            Marshal.FreeCoTaskMem(native);
            var builder = new StringBuilder(300);
            snprintf(builder, (UIntPtr)300, "<%s>", text);
            if (!same || builder.ToString() != "<" + text + ">")
                return false;
        }
        return true;
    }

    // A string returned by libc: the runtime frees a block that is not of the host's heap.
    [DllImport("libc")]
    static extern string strdup(string text);

    [DllImport("libc")]
    static extern string realpath(string path, IntPtr buffer);

    static bool LibcStrings(int seed, int rounds)
    {
        for (int i = 0; i < 12; i++) {
            if (strdup("copy " + i) != "copy " + i || realpath("/usr/../usr", IntPtr.Zero) != "/usr")
                return false;
        }
        return NativeStrings(seed, rounds / 2);
    }

    [StructLayout(LayoutKind.Sequential, CharSet = CharSet.Ansi)]
    struct Record
    {
        public int number;
        public string name;
        [MarshalAs(UnmanagedType.ByValArray, SizeConst = 4)] public int[] values;
    }

    delegate int Comparison(IntPtr left, IntPtr right);

    [DllImport("libc")]
    static extern void qsort([In, Out] int[] numbers, UIntPtr count, UIntPtr size,
                             Comparison comparison);

    static bool Callbacks(int seed, int rounds)
    {
        var random = new Random(seed);
        for (int i = 0; i < rounds / 4; i++) {
            var numbers = new int[40];
            for (int k = 0; k < numbers.Length; k++)
                numbers[k] = random.Next(1000);
            Comparison comparison = (left, right) =>
                Marshal.ReadInt32(left).CompareTo(Marshal.ReadInt32(right));
            qsort(numbers, (UIntPtr)40, (UIntPtr)4, comparison);
            GC.KeepAlive(comparison);
            for (int k = 1; k < numbers.Length; k++) {
                if (numbers[k - 1] > numbers[k])
                    return false;
            }
            var record = new Record { number = i, name = "n" + i, values = new[] { 1, 2, 3, i } };
            IntPtr native = Marshal.AllocHGlobal(Marshal.SizeOf(typeof(Record)));
            Marshal.StructureToPtr(record, native, false);
            var back = (Record)Marshal.PtrToStructure(native, typeof(Record));
            Marshal.DestroyStructure(native, typeof(Record));
            Marshal.FreeHGlobal(native);
            if (back.number != i || back.name != "n" + i || back.values[3] != i)
                return false;
        }
        return true;
    }

    // ---- The runtime's own records -------------------------------------------------------------

    static int Thrower(int depth)
    {
        if (depth == 0)
            throw new InvalidOperationException("at the bottom");
        try {
            return Thrower(depth - 1) + 1;
        } finally {
            Interlocked.Increment(ref unwound);
        }
    }

    static int unwound;

    static bool Exceptions(int seed, int rounds)
    {
        for (int i = 0; i < rounds; i++) {
            try {
                Thrower(i % 12);
                return false;
            } catch (InvalidOperationException exception) {
                if (i % 8 == 0 && !exception.StackTrace.Contains("Thrower"))
                    return false;
            }
            try {
                object text = "text";
                return (int)text == 0;
            } catch (InvalidCastException) {
            }
        }
        return true;
    }

    static bool Inspection(int seed, int rounds)
    {
        Type[] types = typeof(string).Assembly.GetTypes();
        for (int i = 0; i < rounds / 4; i++) {
            Type type = types[(seed * 7919 + i * 31) % types.Length];
            int count = 0;
            foreach (MemberInfo member in type.GetMembers(BindingFlags.Public |
                     BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static))
                count += member.ToString().Length;
            object[] marks = type.GetCustomAttributes(false);
            if (count < 0 || marks == null)
                return false;
            Type list = typeof(Dictionary<,>).MakeGenericType(typeof(string), typeof(int));
            object made = Activator.CreateInstance(list);
            list.GetMethod("Add").Invoke(made, new object[] { "one", i });
            if ((int)list.GetProperty("Count").GetValue(made, null) != 1)
                return false;
            if (Type.GetType("System.Collections.Generic.List`1[[System.Int32]]") == null)
                return false;
        }
        return true;
    }

    static bool Emission(int seed, int rounds)
    {
        for (int i = 0; i < 6; i++) {
            var method = new DynamicMethod("plus" + i, typeof(int), new[] { typeof(int) });
            ILGenerator code = method.GetILGenerator();
            code.Emit(OpCodes.Ldarg_0);
            code.Emit(OpCodes.Ldc_I4, seed + i);
            code.Emit(OpCodes.Add);
            code.Emit(OpCodes.Ret);
            var plus = (Func<int, int>)method.CreateDelegate(typeof(Func<int, int>));
            if (plus(5) != 5 + seed + i)
                return false;
        }
        AssemblyBuilder assembly = AppDomain.CurrentDomain.DefineDynamicAssembly(
            new AssemblyName("emitted" + seed), AssemblyBuilderAccess.RunAndCollect);
        TypeBuilder type = assembly.DefineDynamicModule("module").DefineType(
            "Emitted" + seed, TypeAttributes.Public | TypeAttributes.Class);
        for (int i = 0; i < 8; i++) {
            MethodBuilder method = type.DefineMethod("Get" + i,
                MethodAttributes.Public | MethodAttributes.Static, typeof(int), Type.EmptyTypes);
            ILGenerator code = method.GetILGenerator();
            code.Emit(OpCodes.Ldc_I4, i * seed);
            code.Emit(OpCodes.Ret);
        }
        Type made = type.CreateType();
        for (int i = 0; i < 8; i++) {
            if ((int)made.GetMethod("Get" + i).Invoke(null, null) != i * seed)
                return false;
        }
        ParameterExpression x = Expression.Parameter(typeof(int), "x");
        Func<int, int> square = Expression.Lambda<Func<int, int>>(Expression.Multiply(x, x), x)
            .Compile();
        return square(7) == 49;
    }

    static bool Patterns(int seed, int rounds)
    {
        var compiled = new Regex(@"(?<key>[a-z]+" + seed % 3 + @")\s*=\s*(?<value>\d+)",
                                 RegexOptions.Compiled);
        var plain = new Regex(@"^(\w+)\s(?:\w+\s)*(\d{1,3})\.(\d+)$");
        string key = "name" + seed % 3;
        for (int i = 0; i < rounds; i++) {
            Match match = compiled.Match("  " + key + " =  " + i + ";");
            if (!match.Success || match.Groups["value"].Value != i.ToString())
                return false;
            if (plain.Replace("one two three " + i % 1000 + ".5", "$3:$1") != "5:one")
                return false;
        }
        return true;
    }

    static bool Collections(int seed, int rounds)
    {
        var map = new Dictionary<string, byte[]>();
        var random = new Random(seed);
        for (int i = 0; i < rounds * 20; i++) {
            string key = "k" + random.Next(300);
            var bytes = new byte[1 + random.Next(2000)];
            if (bytes[bytes.Length / 2] != 0)
                return false;
            bytes[bytes.Length / 2] = 1;
            map[key] = bytes;
            if (i % (rounds * 5) == 0)
                GC.Collect(0);
        }
        int sum = 0;
        foreach (byte[] bytes in map.Values)
            sum += bytes[bytes.Length / 2];
        return sum == map.Count;
    }

    static bool Threads(int seed, int rounds)
    {
        int sum = 0;
        for (int i = 0; i < 4; i++) {
            int number = i;
            var thread = new Thread(() => { Interlocked.Add(ref sum, number); }, 128 * 1024);
            thread.Start();
            thread.Join();
        }
        using (var done = new CountdownEvent(20)) {
            for (int i = 0; i < 20; i++)
                ThreadPool.QueueUserWorkItem(_ => { Interlocked.Add(ref sum, 10); done.Signal(); });
            done.Wait();
        }
        var local = new ThreadLocal<StringBuilder>(() => new StringBuilder("local"));
        return sum == 6 + 200 && local.Value.Length == 5;
    }

    static readonly object[] sharedLocks = { new object(), new object(), new object() };

    static bool Locks(int seed, int rounds)
    {
        int count = 0;
        for (int i = 0; i < rounds * 5; i++) {
            lock (sharedLocks[i % 3])
                count++;
            var own = new object();
            lock (own)
                Monitor.Wait(own, 0);
        }
        return count == rounds * 5;
    }

    class Finalized
    {
        readonly IntPtr block = Marshal.AllocHGlobal(64);
        ~Finalized() { Marshal.FreeHGlobal(block); }
    }

    static bool Handles(int seed, int rounds)
    {
        for (int i = 0; i < rounds * 2; i++) {
            GCHandle pinned = GCHandle.Alloc(new byte[100], GCHandleType.Pinned);
            var weak = new WeakReference(new Finalized());
            bool right = pinned.AddrOfPinnedObject() != IntPtr.Zero;
            pinned.Free();
            if (!right || (weak.Target != null && weak.Target.GetType() != typeof(Finalized)))
                return false;
        }
        return true;
    }

    // ---- Application domains -------------------------------------------------------------------

    public class Visitor : MarshalByRefObject
    {
        public string Visit(int number)
        {
            var regex = new Regex(@"\d+");
            IntPtr block = Marshal.AllocHGlobal(1000);
            Marshal.FreeHGlobal(block);
            return AppDomain.CurrentDomain.FriendlyName + regex.Match("a" + number).Value;
        }
    }

    static bool Domains(int rounds)
    {
        for (int i = 0; i < 5; i++) {
            AppDomain domain = AppDomain.CreateDomain("domain-" + i);
            var visitor = (Visitor)domain.CreateInstanceAndUnwrap(
                typeof(Visitor).Assembly.FullName, typeof(Visitor).FullName);
            bool right = visitor.Visit(i) == "domain-" + i + i;
            AppDomain.Unload(domain);
            if (!right)
                return false;
        }
        return true;
    }
}
