#!/usr/bin/perl
# Runs the rules of Debian's spamassassin as `spamassassin -L` does (no network, no Bayes, so score
# set 0) over the message files named on standard input, in one process. One JSON line a message:
# {"file", "score", "rules": [...], "subrules": [...], "seconds"}; seconds are of CPU.
# Usage: spamassassin_hits.pl SITE_FOLDER RULES_FOLDER < LIST
use strict;
use warnings;
use JSON::PP;
use Mail::SpamAssassin;

my ($site, $rules) = @ARGV;
my $sa = Mail::SpamAssassin->new({
    rules_filename       => $rules,
    site_rules_filename  => $site,
    userprefs_filename   => '/dev/null',
    dont_copy_prefs      => 1,
    local_tests_only     => 1,
    home_dir_for_helpers => $site,
    username             => 'nobody',
});
$sa->compile_now(0);
my $json = JSON::PP->new->canonical->ascii;
$| = 1;
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
