#!/usr/bin/perl -w
# What a satellite does for one name, step by step, with the modules and programs that it uses: is the caller in
# its network, three words by shuf, a row in SQLite. Its line in syslog and Apache's part are left out. Its
# getlink.cgi was read for this; none of its text is here. benchmarks/slurm.py takes the time.
#
#   satellite_issue.pl ADDRESS WORDS DATABASE
use strict;
use Cwd;
use DBI;
use Digest::SHA qw(sha256_base64);
use File::Basename qw(dirname);
use Net::IP;
use Sys::Syslog;

my ($address, $words, $database) = @ARGV;
my $network = Net::IP->new('127.0.0.0/8');
die "not from this network" unless $network->overlaps(Net::IP->new($address)) == $IP_B_IN_A_OVERLAP;
my @name;
while (@name < 3) {
    chomp(my $word = lc `shuf --random-source=/dev/urandom -n 1 $words`);
    push @name, $word if $word =~ /^[a-z0-9]+$/;
}
my $name = join '-', @name;
my $store = DBI->connect("dbi:SQLite:dbname=$database", '', '', { AutoCommit => 0, RaiseError => 1 });
$store->do('create table if not exists names (name text, hash text, state text)');
$store->do('insert into names values (?, ?, ?)', undef, $name, sha256_base64($name), 'pending');
$store->commit;
print "Your token is \n$name\n";
