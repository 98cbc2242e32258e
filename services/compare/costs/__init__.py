"""What a run would cost, what a month at its rate would, and what sampling would save and hide. From the record alone.

==============  ===============================================================
``bill``        units and dollars, of the run and of a month
``sampling``    which requests a rate keeps: what that saves, which errors it hides
==============  ===============================================================
"""
