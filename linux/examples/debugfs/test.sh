# SPDX-License-Identifier: GPL-2.0
set -e
folder=/sys/kernel/debug
[ -d $folder/debugfs_example ] || mount -t debugfs none $folder
folder=$folder/debugfs_example
[ "$(cat $folder/count)" = 42 ]
echo 7 > $folder/count
[ "$(cat $folder/count)" = 7 ]
cat $folder/purpose | grep 'to be looked at'
if echo x > $folder/count 2>/dev/null; then exit 1; fi
