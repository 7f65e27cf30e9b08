modprobe -r hmm_dmirror; modprobe hmm_dmirror spm_addr_dev0=0x20000000 spm_addr_dev1=0x30000000
/root/.cache/hmm-testmachine/selftests/7.3-2efc1346f6712209/hmm-tests -t $1; dmesg | tail -20
