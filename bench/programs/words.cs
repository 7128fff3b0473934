// SPDX-License-Identifier: MIT
// What bench/traces/mono.trace.xz was recorded from: reflection, expressions compiled at run time,
// regular expressions and threads. The runtime's own tables, metadata and code come from malloc.
using System;
using System.Collections.Generic;
using System.Linq.Expressions;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Text.RegularExpressions;
using System.Threading;

public static class Words
{
    static int Compiled(int seed)
    {
        ParameterExpression x = Expression.Parameter(typeof(int), "x");
        Expression sum = Expression.Constant(seed);
        for (int i = 0; i < 12; i++)
            sum = Expression.Add(Expression.Multiply(sum, x), Expression.Constant(i));
        return Expression.Lambda<Func<int, int>>(sum, x).Compile()(3);
    }

    static int Inspected(Assembly assembly)
    {
        int members = 0;
        foreach (Type type in assembly.GetTypes())
            members += type.GetMembers().Length;
        return members;
    }

    static int Matched(int seed)
    {
        var pattern = new Regex("(w" + seed + "|\\w+)-(\\d+)", RegexOptions.Compiled);
        int found = 0;
        for (int i = 0; i < 200; i++)
            found += pattern.Matches("alpha-1 w" + i + "-22 beta-333").Count;
        return found;
    }

    static long Strings(int seed)
    {
        var held = new Queue<IntPtr>();
        long length = 0;
        for (int i = 0; i < 4000; i++) {
            string text = new string('a', (i * 37 + seed) % 300);
            held.Enqueue(Marshal.StringToHGlobalAnsi(text));
            if (held.Count > 100) {
                IntPtr block = held.Dequeue();
                length += Marshal.PtrToStringAnsi(block).Length;
                Marshal.FreeHGlobal(block);
            }
        }
        foreach (IntPtr block in held)
            Marshal.FreeHGlobal(block);
        return length;
    }

    public static int Main()
    {
        long total = Inspected(typeof(object).Assembly) + Inspected(typeof(Regex).Assembly);
        for (int round = 0; round < 6; round++) {
            var threads = new List<Thread>();
            for (int i = 0; i < 4; i++) {
                int seed = round * 4 + i;
                var thread = new Thread(() => {
                    long part = Compiled(seed) + Matched(seed) + Strings(seed);
                    Interlocked.Add(ref total, part);
                });
                thread.Start();
                threads.Add(thread);
            }
            foreach (Thread thread in threads)
                thread.Join();
        }
        Console.WriteLine(total);
        return 0;
    }
}
