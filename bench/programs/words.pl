# SPDX-License-Identifier: MIT
# words.pl - hashes of strings and lists that grow and shrink; prints a checksum.
use strict;
use warnings;
my (%text, %list);
for my $round (1 .. 12) {
    for my $i (1 .. 30000) {
        my $word = "w" . (($i * 7919) % 10007);
        $text{$word} .= "x$i";
        $text{$word} = substr($text{$word}, -40) if length($text{$word}) > 60;
        push @{$list{$word}}, $i if $i % 3 == 0;
    }
    delete $text{"w$_"} for 1 .. 3000;
}
my $sum = 0;
$sum = ($sum * 31 + length($text{$_})) % 1000003 for sort keys %text;
print scalar(keys %text), " ", scalar(keys %list), " $sum\n";
