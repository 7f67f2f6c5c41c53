# SPDX-License-Identifier: MIT OR Apache-2.0
# run.sh FILE: runs each line of FILE as README.md tells, and prints what it did. `=== ` marks a line, `--- ` what belongs to it.
export F=/tmp/fixtures
mkdir -p $F/tree/a/b $F/tree/c
cd $F || exit 1
seq 1 100 > numbers
printf 'pear 3\napple 10\nfig 7\napple 2\nkiwi 1\n' > fruit
printf 'The quick brown fox\njumps over\nthe lazy dog.\n\nThe end\n' > text
printf 'a:1:x\nb:2:y\nc:3:z\n' > table
printf 'one\n' > tree/a/one.txt
printf 'two\n' > tree/a/b/two.txt
printf 'three\n' > tree/c/three.c
ln -s ../a/one.txt tree/c/link
i=0
while [ $i -lt 64 ]; do printf 'block %03d of a file that is neither short nor all the same.\n' $i; i=$((i + 1)); done > blocks
work=/tmp/work
while IFS= read -r line <&3; do
    case "$line" in '' | '#'*) continue ;; esac
    mkdir $work
    cd $work || exit 1
    timeout 20 sh -c "$line" > /tmp/out 2> /tmp/err < /dev/null 3<&-
    status=$?
    cd /
    rm -rf $work
    printf '=== %s\n' "$line"
    cat /tmp/out
    printf '\n--- stderr\n'
    cat /tmp/err
    printf '\n--- status %s\n' $status
done 3< "$1"
echo '=== end'
