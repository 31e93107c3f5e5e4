#!/usr/bin/perl
# Runs the rules of Debian's spamassassin as `spamassassin -L` does (no network, no Bayes, so score
# set 0) over the message files named on standard input, in one process. One JSON line a message:
# {"file", "score", "rules": [...], "subrules": [...], "seconds"}; seconds are of CPU.
# Usage: spamassassin_hits.pl SITE_FOLDER RULES_FOLDER < LIST
# With a third argument, "rules", only the rules that it runs: one JSON object {NAME: TYPE}.
use strict;
use warnings;
use JSON::PP;
use Mail::SpamAssassin;

my ($site, $rules, $what) = @ARGV;
my $sa = Mail::SpamAssassin->new({
    rules_filename       => $rules,
    site_rules_filename  => $site,
    userprefs_filename   => '/dev/null',
    dont_copy_prefs      => 1,
    local_tests_only     => 1,
    home_dir_for_helpers => $site,
    username             => 'nobody',
});
($what || '') eq 'rules' ? $sa->init(1) : $sa->compile_now(0);
my $json = JSON::PP->new->canonical->ascii;
$| = 1;
if (($what || '') eq 'rules') {
    my %all;
    for my $type (qw(head_tests body_tests rawbody_tests uri_tests full_tests meta_tests
                     head_evals body_evals rawbody_evals full_evals)) {
        # By priority and name, or (metas) by name alone.
        my $tests = $sa->{conf}->{$type} || {};
        for my $key (keys %$tests) {
            my @names = $key =~ /^-?\d+$/ && ref($tests->{$key}) eq 'HASH' ? keys %{ $tests->{$key} } : ($key);
            $all{$_} = $type for @names;
        }
    }
    $all{$_} = 'mimeheader' for keys %{ $sa->{conf}->{mimeheader_tests} || {} };
    $all{$_} = 'uri_detail' for keys %{ $sa->{conf}->{uri_detail_tests} || {} };
    print $json->encode(\%all), "\n";
    exit 0;
}
while (my $file = <STDIN>) {
    chomp $file;
    open(my $in, '<:raw', $file) or die "$file: $!";
    my @begin = times;
    my $message = $sa->parse($in);
    my $status = $sa->check($message);
    my @end = times;
    close $in;
    my %sub = map { $_ => 1 } @{ $status->{subtest_names_hit} || [] };
    print $json->encode({
        file     => $file,
        score    => 0 + $status->get_score,
        rules    => [sort grep { length } split(/,/, $status->get_names_of_tests_hit)],
        subrules => [sort keys %sub],
        seconds  => $end[0] - $begin[0] + $end[1] - $begin[1],
    }), "\n";
    $status->finish;
    $message->finish;
}
