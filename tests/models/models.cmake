# SPDX-License-Identifier: MIT
# One line per search of a model (run_model.sh): models.MODEL holds, models.MODEL.FAULT is found to
# fail.
function(hh_model model)
    set(run sh ${CMAKE_CURRENT_SOURCE_DIR}/models/run_model.sh
        ${CMAKE_CURRENT_SOURCE_DIR}/models/${model}.pml)
    cmake_parse_arguments(M "" "" "HOLDS;FAULTS" ${ARGN})
    hh_command_test(models.${model} COMMAND ${run} holds TIMEOUT 600)
    foreach(variant IN LISTS M_HOLDS)
        hh_command_test(models.${model}.${variant} COMMAND ${run} holds ${variant} TIMEOUT 600)
    endforeach()
    foreach(fault IN LISTS M_FAULTS)
        string(REPLACE "+" ";" faults ${fault})
        hh_command_test(models.${model}.${fault} COMMAND ${run} fails ${faults})
    endforeach()
endfunction()

hh_model(rcu_sections HOLDS NO_SETTLE
    FAULTS NO_GUESTS NO_GRACE RETIRE_FIRST NO_SETTLE+ONE_PHASE EARLY_ENTER)
hh_model(remote_free
    FAULTS GIVE_LATE LOOK_FIRST PUSH_UNTAKEN SPLIT_MARK SPLIT_PUSH SPLIT_TAKE CUT)
hh_model(limbo FAULTS NO_SECTION NO_LOOK STAMP_FIRST ENTER_LATE SAME_EPOCH)
hh_model(inbox_sweep
    FAULTS NO_SECTION SECTION_LATE EPOCH_EARLY NO_LOOK TOUCHED_LATE TOUCHED_EARLY
    NO_LOCK FORGET)
hh_model(handover
    FAULTS DISOWN_UNTAKEN RETIRE_UNTAKEN ADOPT_LATE ADOPT_UNSEEN TOUCHED_LATE ORPHAN_SPLIT)
hh_model(registry FAULTS SPLIT_PUSH LINK_LATE LINK_STALE FILL_LATE)
